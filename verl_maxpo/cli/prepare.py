r"""Write a data set in verl's schema, without duplicates and test problems.

    verl-maxpo prepare gsm8k --out data/gsm8k
    verl-maxpo prepare math500 --out data/math500
    verl-maxpo prepare math --out data/math --against data/math500/test.parquet
    verl-maxpo prepare reasoning_gym:gcd --out data/gcd --size 5000
    verl-maxpo prepare --hub ORG/NAME --question problem --answer answer \
        --split train=train test=validation --out data/mine

One folder holds one data set: train.parquet if it has a training split,
test.parquet if it has one to evaluate on, and manifest.json, which says where
they come from, what was left out and their checksums. A folder that holds what
is asked for is left as it is; one that holds the same data set with other
options is replaced with --overwrite only.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from verl_maxpo.cli.common import CommandError, add_json, positive, write_json
from verl_maxpo.data import prepare, reading, tasks
from verl_maxpo.data.rows import DataError, RequestError
from verl_maxpo.data.sources import ANSWER_FORMATS, SOURCES, Source, hub_source
from verl_maxpo.rewards.routing import Router

_TASK_PREFIX = "reasoning_gym:"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help=f"{', '.join(SOURCES)} or {_TASK_PREFIX}TASK")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of this data set")
    parser.add_argument("--overwrite", action="store_true", help="replace it where DIR has it with other options")
    parser.add_argument("--instruction", metavar="TEXT", help="what follows the question, in place of the data set's")
    parser.add_argument("--max-rows", type=positive, metavar="N", help="the first N rows of each file, for trials")
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave malformed rows out and count them")
    parser.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="FILE", help="prepared files to keep out of training"
    )
    parser.add_argument(
        "--local",
        nargs="+",
        default=[],
        metavar="[SPLIT=]FILE",
        help="parquet, json, jsonl or csv, in place of the hub",
    )
    add_json(parser)
    any_set = parser.add_argument_group("any data set of the hub, in place of NAME")
    any_set.add_argument("--hub", metavar="ORG/NAME", help="its id")
    any_set.add_argument("--question", metavar="COLUMN", help="of the problem")
    any_set.add_argument("--answer", metavar="COLUMN", help="of the answer")
    any_set.add_argument(
        "--answer-format",
        choices=ANSWER_FORMATS,
        default="plain",
        help="the answer alone (default), an integer, in the last \\boxed{}, or a number after ####",
    )
    any_set.add_argument("--hub-config", metavar="NAME", help="of the data set, if not the default one")
    any_set.add_argument(
        "--split",
        nargs="+",
        default=["train=train"],
        metavar="FILE=SPLIT",
        help="what train.parquet and test.parquet come from (train=train): train=train test=validation",
    )
    any_set.add_argument("--data-source", metavar="NAME", help="by which the reward finds its verifier (the id)")
    generated = parser.add_argument_group(f"{_TASK_PREFIX}TASK")
    generated.add_argument("--size", type=positive, default=10_000, metavar="N", help="training problems (10000)")
    generated.add_argument("--test-size", type=positive, default=200, metavar="N", help="test problems (200)")
    generated.add_argument("--seed", type=int, default=0, metavar="N", help="of the training problems (0)")
    generated.add_argument("--task-config", nargs="+", default=[], metavar="KEY=VALUE", help="or one JSON object")


def run(options: Namespace) -> int:
    """Prepare the data set, unless it is there."""
    try:
        _prepare(options)
    except (RequestError, OSError) as error:
        raise CommandError(error) from error
    except DataError as error:
        raise CommandError(error, status=1) from error
    write_json(prepare.read_manifest(options.out), options.json)
    return 0


def _prepare(options: Namespace) -> None:
    source = _find_source(options)
    chosen = prepare.Options(options.instruction, options.max_rows, options.skip_bad_rows, tuple(options.against))
    reader, origin = _find_rows(source, options)
    request = prepare.make_request(source, origin, chosen)
    out: Path = options.out
    if current := prepare.find_current(out, request, overwrite=options.overwrite):
        print(f"{source.name} is prepared in {out} already: {_listed(current['files'])}")
        return
    revision = None
    if reader is None:
        revision = reading.hub_revision(source)
        reader = reading.hub_reader(source, revision)
    counts = prepare.prepare(source, reader, out, options=chosen, request=request, revision=revision)
    for split, count in counts.items():
        print(f"{out / split}.parquet: {count}")
        print("".join(f"  {reason}\n" for reason in count.bad_rows), end="")
    if options.hub:
        _say_what_verifies(source.data_source)


def _say_what_verifies(data_source: str) -> None:
    try:
        print(f"the verifier of {data_source} is {Router({}).find(data_source).verifier}")
    except ValueError as error:
        print(f"before training: {error}")


def _find_source(options: Namespace) -> Source:
    name: str = options.name or ""
    if bool(name) == bool(options.hub):
        raise RequestError("expected either NAME or --hub ORG/NAME --question COLUMN --answer COLUMN")
    if options.task_config and not name.startswith(_TASK_PREFIX):
        raise RequestError(f"--task-config is for {_TASK_PREFIX}TASK, not for {name or options.hub}")
    if options.hub:
        return _hub_source(options)
    if options.question or options.answer:
        raise RequestError(f"--question and --answer go with --hub, not with {name}")
    if name.startswith(_TASK_PREFIX):
        if options.local:
            raise RequestError(f"{name} is generated: it takes no --local")
        return tasks.task_source(name.removeprefix(_TASK_PREFIX))
    if name not in SOURCES:
        raise RequestError(
            f"unknown data set {name!r}; there are: {', '.join(SOURCES)}, {_TASK_PREFIX}TASK, and any of the hub by "
            "--hub ORG/NAME"
        )
    return SOURCES[name]


def _hub_source(options: Namespace) -> Source:
    if not options.question or not options.answer:
        raise RequestError(f"--hub {options.hub} needs --question COLUMN and --answer COLUMN")
    splits = dict(pair.partition("=")[::2] for pair in options.split)
    if not splits.keys() <= {"train", "test"} or not all(splits.values()):
        raise RequestError(f"--split takes train=SPLIT and test=SPLIT, got {' '.join(options.split)}")
    return hub_source(
        options.hub,
        question=options.question,
        answer=options.answer,
        answer_format=options.answer_format,
        splits=splits,
        config=options.hub_config,
        data_source=options.data_source,
    )


def _find_rows(source: Source, options: Namespace) -> tuple[reading.Reader | None, Mapping[str, Any]]:
    """Return a reader, None if it is the hub's, and what the manifest says of where the rows come from."""
    if source.name.startswith(_TASK_PREFIX):
        task = source.name.removeprefix(_TASK_PREFIX)
        sizes, config = {"train": options.size, "test": options.test_size}, tasks.task_config(options.task_config)
        origin = {"sizes": sizes, "seed": options.seed, "config": config, "reasoning-gym": version("reasoning-gym")}
        return tasks.task_reader(task, sizes, options.seed, config), origin
    if options.local:
        files = reading.local_files(source, options.local)
        return reading.local_reader(source, files), {
            "local": {split: prepare.fingerprints(files[split]) for split in files}
        }
    return None, {"hub": source.hub, "config": source.config}


def _listed(files: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} ({file['written']} rows)" for name, file in files.items())
