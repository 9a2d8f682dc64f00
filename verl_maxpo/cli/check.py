r"""Try the rewards of a data set before training.

Each gold answer must be verified as right, and each wrong answer as wrong.

    verl-maxpo check data/gsm8k/train.parquet data/gsm8k/test.parquet
    verl-maxpo check data.parquet --option routes='{my/qa: math}'

Your own function is tried too. If its file has examples(ground_truth,
extra_info) -> (right, wrong), it must score these two as right and wrong.
Otherwise it gets answers taken from the rows, and you see what it returned.

    verl-maxpo check data.parquet --option \
        default_verifier='{verifier: python_function, path: f.py, name: f}'
    verl-maxpo check data.parquet --custom-reward-function f.py:compute_score
    verl-maxpo check data.parquet --responses dump.jsonl

Exits with 1 if a row has a problem or could not be checked.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from verl_maxpo.cli.common import CommandError, add_json, write_json
from verl_maxpo.rewards.adapters.run_config import columns_of, scorer_for_run
from verl_maxpo.rewards.check import Scorer, check_file, check_responses
from verl_maxpo.rewards.config import OPTIONS_KEY
from verl_maxpo.rewards.data_files import sources_of
from verl_maxpo.rewards.isolation.pool import VerifierUnavailableError
from verl_maxpo.rewards.report import Report

_SHOWN = 10


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="parquet or JSON lines in verl's schema")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"an option, spelled as for a run: {OPTIONS_KEY}.timeout=5, or timeout=5 for short",
    )
    parser.add_argument(
        "--custom-reward-function",
        metavar="FILE:NAME",
        help="check this function (reward.custom_reward_function.path and .name), called as by verl's own managers",
    )
    parser.add_argument(
        "--responses",
        type=Path,
        metavar="FILE",
        help="responses to score: a dump of verl, or JSON lines with a response and its row's index (from 0) or prompt",
    )
    add_json(parser)


def run(options: Namespace) -> int:
    """Check the files and show what was found."""
    try:
        reports = _reports(options)
    except (OSError, ValueError, VerifierUnavailableError) as error:
        raise CommandError(error) from error
    for path, report in reports.items():
        print(path, *map(_line, report.scored[:_SHOWN]), *report.lines(), sep="\n")
    write_json({str(path): report for path, report in reports.items()}, options.json)
    return int(not all(report.ok for report in reports.values()))


def _reports(options: Namespace) -> dict[Path, Report]:
    config = _run_config(options.option, options.custom_reward_function)
    columns = columns_of(config)
    scorer = _scorer_of(config, sorted({source for path in options.files for source in sources_of(path, columns)}))

    async def check() -> dict[Path, Report]:
        if options.responses:
            return {options.responses: await check_responses(options.responses, options.files, scorer, columns)}
        return {path: await check_file(path, scorer, columns) for path in options.files}

    try:
        return asyncio.run(check())
    finally:
        scorer.close()


def _line(scored: dict[str, Any]) -> str:
    shown = [f"{name} {value!r}" for name, value in scored.items() if name not in ("row", "reward") and value != ""]
    return f"  row {scored['row']}: reward {scored['reward']:g}, {', '.join(shown)}"


def _run_config(options: list[str], function: str | None) -> DictConfig:
    """Return the part of a run's configuration that the options set."""
    config = OmegaConf.create({"data": {}, "reward": {"reward_kwargs": {}, "custom_reward_function": {}}})
    for key, value in _read(options):
        OmegaConf.update(config, key, value, merge=True, force_add=True)
    if function:
        path, _, name = function.rpartition(":")
        if not path:
            raise ValueError(f"--custom-reward-function must be FILE:NAME, got {function!r}")
        config.reward.custom_reward_function.update(path=path, name=name)
    return config


def _read(options: list[str]) -> Iterator[tuple[str, Any]]:
    for option in options:
        if "=" not in option:
            raise ValueError(f"an option must be KEY=VALUE, such as timeout=5, got {option!r}")
        try:
            override = OverridesParser.create().parse_override(option)
            key, value = override.key_or_group, override.value()
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(
                f"cannot read the option {option}: {str(error).splitlines()[0]}. Write a data source as in "
                "routes='{my/qa: math}'"
            ) from None
        yield key if key.startswith(("reward.", "data.")) else f"{OPTIONS_KEY}.{key}", value


def _scorer_of(config: DictConfig, data_sources: list[str]) -> Scorer:
    if config.reward.custom_reward_function.get("path"):
        from verl_maxpo.rewards.adapters.users_function import UsersFunction

        return UsersFunction(config)
    config.reward.reward_kwargs.data_sources = data_sources
    scorer = scorer_for_run(config)
    scorer.check_options()
    return scorer
