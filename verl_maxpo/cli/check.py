"""Verify each gold answer as correct and a wrong one as wrong, before training.

    verl-maxpo check data/gsm8k/train.parquet data/gsm8k/test.parquet
    verl-maxpo check data.parquet --option 'routes={my_org/*: math}'

Exits with 1 if a row has a problem or could not be checked.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from verl_maxpo.cli.common import CommandError, add_json, write_json
from verl_maxpo.rewards.check import check_file
from verl_maxpo.rewards.config import VerifierConfig


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="parquet or JSON lines in verl's schema")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of reward.reward_kwargs, as the run will have it: default_verifier=math, timeout=5",
    )
    add_json(parser)


def run(options: Namespace) -> int:
    """Check the files and show what was found."""
    try:
        config = VerifierConfig.from_dotlist(options.option)
        reports = {path: check_file(path, config) for path in options.files}
    except (OSError, ValueError) as error:
        raise CommandError(error) from error
    for path, report in reports.items():
        print(path, *report.lines(), sep="\n")
    write_json({str(path): report.as_json() for path, report in reports.items()}, options.json)
    return int(not all(report.ok for report in reports.values()))
