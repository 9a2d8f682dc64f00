"""``python -m verl_maxpo.rewards check DATA...``: every gold answer of a data set against its own verifier."""

from __future__ import annotations

import argparse
from pathlib import Path

from verl_maxpo.rewards.check import check_file
from verl_maxpo.rewards.config import VerifierConfig


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if a row has a problem or could not be checked, 2 if a file cannot."""
    parser = argparse.ArgumentParser(prog="python -m verl_maxpo.rewards", description=__doc__)
    check = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="verify every gold answer as correct and a wrong answer as wrong"
    )
    check.add_argument("files", type=Path, nargs="+", metavar="DATA", help="parquet or JSON-lines file for verl")
    check.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of reward.reward_kwargs, as the run will have it: default_verifier=math, timeout=5",
    )
    options = parser.parse_args(arguments)
    try:
        config = VerifierConfig.from_dotlist(options.option)
        reports = {path: check_file(path, config) for path in options.files}
    except (OSError, ValueError) as error:
        print(f"error: {error}")
        return 2
    for path, report in reports.items():
        print(path, *report.lines(), sep="\n")
    return int(not all(report.ok for report in reports.values()))


if __name__ == "__main__":
    raise SystemExit(main())
