"""Write a data set in verl's schema, without duplicates and test problems.

    verl-maxpo prepare gsm8k --out data/gsm8k
    verl-maxpo prepare math500 --out data/math500
    verl-maxpo prepare math --out data/math --against data/math500/test.parquet
    verl-maxpo prepare reasoning_gym:gcd --out data/gcd --size 5000

One folder holds one data set: train.parquet if it has a training split,
test.parquet if it has one to evaluate on, and manifest.json, which says where
they come from, what was left out and their checksums. A folder that holds what
is asked for is left as it is.
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
from verl_maxpo.data.sources import SOURCES, Source

_TASK_PREFIX = "reasoning_gym:"


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(SOURCES)} or {_TASK_PREFIX}TASK")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of this data set")
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
    if current := prepare.find_current(out, request):
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


def _find_source(options: Namespace) -> Source:
    name: str = options.name
    if name.startswith(_TASK_PREFIX):
        if options.local:
            raise RequestError(f"{name} is generated: it takes no --local")
        return tasks.task_source(name.removeprefix(_TASK_PREFIX))
    if name not in SOURCES:
        raise RequestError(f"unknown data set {name!r}; there are: {', '.join(SOURCES)}, {_TASK_PREFIX}TASK")
    if options.task_config:
        raise RequestError(f"--task-config is for {_TASK_PREFIX}TASK, not for {name}")
    return SOURCES[name]


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
