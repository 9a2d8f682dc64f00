"""Add runs to results.jsonl, the number of right samples of every held-out problem, and make README's table of them.

python examples/smollm2/results.py outputs/smollm2/*-seed*
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verl_maxpo import pass_at_k
from verl_maxpo.evaluate.estimates import proportion_interval
from verl_maxpo.evaluate.summary import read_settings

HERE = Path(__file__).parent
RESULTS, README = HERE / "results.jsonl", HERE / "README.md"
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
    right: Counter[str] = Counter({sample["input"]: 0 for sample in samples})
    right.update(sample["input"] for sample in samples if sample["acc"] == 1)
    lucky = sum(sample["acc"] == 1 and not WHOLE.search(sample["output"].strip()) for sample in samples)
    counts = [right[prompt] for prompt in sorted(right)]
    return {"step": int(dump.stem), "samples": len(samples) // len(right), "successes": counts, "cut_off": lucky}


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
    for run in map(json.loads, RESULTS.read_text().splitlines()):
        for one in run["evaluations"]:
            cut_off = f"{one['cut_off']} of {sum(one['successes'])}"
            numbers = [interval(values(one, k)) for k in KS]
            rows.append([f"`{run['run']}`", str(run["seed"]), str(one["step"]), *numbers, cut_off])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def filled(text: str) -> str:
    """Return README with its table made anew."""
    return re.sub(r"(<!-- results -->\n).*?(<!-- end -->)", rf"\g<1>{table()}\n\g<2>", text, flags=re.DOTALL)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs that have ended")
    known = {(line["run"], line["seed"]) for line in map(json.loads, RESULTS.read_text().splitlines())}
    with RESULTS.open("a") as file:
        for line in map(line_of, parser.parse_args().runs):
            if (line["run"], line["seed"]) not in known:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
    README.write_text(filled(README.read_text()))


if __name__ == "__main__":
    main()
