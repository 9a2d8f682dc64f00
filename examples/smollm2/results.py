"""Add runs to results.jsonl, evaluations on GSM8K to gsm8k.jsonl, and make README's tables of both.

    python examples/smollm2/results.py outputs/smollm2/*-seed* outputs/smollm2/gsm8k/*-seed*

Both files hold the number of right samples of every held-out problem.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import gsm8k
import numpy as np
from numpy.typing import NDArray

from verl_maxpo import pass_at_k
from verl_maxpo.evaluate.estimates import proportion_interval
from verl_maxpo.evaluate.settings import read_settings

HERE = Path(__file__).parent
RESULTS, GSM8K, README = HERE / "results.jsonl", HERE / "gsm8k.jsonl", HERE / "README.md"
KS = (1, 4, 16)
WHOLE = re.compile(r"-?\d+\W*$")  # ends in a number, so that the number is no part of a sentence that was cut off


def line_of(run: Path) -> dict[str, Any]:
    """Return what is kept of a run."""
    settings = read_settings(run)
    metrics = [json.loads(line)["data"] for line in next(run.glob("metrics-*.jsonl")).read_text().splitlines()]
    seconds = [data["timing_s/step"] for data in metrics if "timing_s/step" in data]
    dumps = sorted((run / "validation").glob("*.jsonl"), key=lambda dump: int(dump.stem))
    return {
        "run": run.name.removesuffix(f"-seed{settings['SEED']}"),
        "seed": int(settings["SEED"]),
        "seconds_per_step": round(float(np.median(seconds)), 1),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{platform.machine()}, {len(seconds)} steps",
        "evaluations": [evaluation_of(dump) for dump in dumps],
    }


def evaluation_of(dump: Path) -> dict[str, Any]:
    """Count right samples by problem, and those of them that do not end in the number that was taken as the answer."""
    samples = [json.loads(line) for line in dump.read_text().splitlines()]
    successes = gsm8k.successes_of(samples)
    lucky = sum(sample["acc"] == 1 and not WHOLE.search(sample["output"].strip()) for sample in samples)
    return {"step": int(dump.stem), "samples": len(samples) // len(successes), "successes": successes, "cut_off": lucky}


def values(evaluation: dict[str, Any], k: int) -> NDArray[np.float64]:
    """Return pass@k of every problem."""
    return np.asarray(pass_at_k(evaluation["samples"], np.array(evaluation["successes"]), k))


def interval(found: NDArray[np.float64]) -> str:
    """Return a mean over problems with its 95% interval."""
    bounds = proportion_interval(found)
    assert bounds is not None
    return f"{found.mean():.2f} [{bounds.low:.2f}, {bounds.high:.2f}]".replace("0.", ".")


def table() -> str:
    """Return a row for every evaluation of every run."""
    head = ["run", "seed", "step", *[f"pass@{k}" for k in KS], "right by a number that was cut off"]
    rows = [head, ["---"] * len(head)]
    for run in sorted(lines_of(RESULTS), key=lambda run: (run["run"], run["seed"])):
        for one in run["evaluations"]:
            cut_off = f"{one['cut_off']} of {sum(one['successes'])}"
            numbers = [interval(values(one, k)) for k in KS]
            rows.append([f"`{run['run']}`", str(run["seed"]), str(one["step"]), *numbers, cut_off])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def gsm8k_table() -> str:
    """Return a row for every evaluation on GSM8K."""
    failures = {"no_mark": "no `####`", "no_number": "no number after it", "cut_off": "cut off"}
    head = ["model", *[f"pass@{k}" for k in KS], *[f"pass@{k}, last number" for k in KS], *failures.values()]
    head.append("verdicts audited, in doubt")
    rows = [head, ["---"] * len(head)]
    for one in lines_of(GSM8K):
        last_number = {**one, "successes": one["successes_by_last_number"]}
        numbers = [interval(values(counts, k)) for counts in (one, last_number) for k in KS]
        shares = [f"{one[name] / one['samples'] / len(one['successes']):.1%}" for name in failures]
        rows.append([f"`{one['model']}`", *numbers, *shares, f"{one['audit']['audited']}, {one['audit']['differ']}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def add(file: Path, line: dict[str, Any], *key: str) -> None:
    """Add a line to a file of results, in place of one with the same key."""
    kept = [one for one in lines_of(file) if any(one[name] != line[name] for name in key)]
    file.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in [*kept, line]))


def filled(text: str) -> str:
    """Return README with its tables made anew."""
    for name, made in (("results", table), ("gsm8k", gsm8k_table)):
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{made()}\n\g<2>", text, flags=re.DOTALL)
    return text


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs that have ended")
    for run in parser.parse_args().runs:
        if run.parent.name == "gsm8k":
            add(GSM8K, gsm8k.line_of(run), "model")
        else:
            add(RESULTS, line_of(run), "run", "seed")
    README.write_text(filled(README.read_text()))


if __name__ == "__main__":
    main()
