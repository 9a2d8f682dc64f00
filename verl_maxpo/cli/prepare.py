r"""Write a data set in verl's schema, without duplicates and test problems.

    verl-maxpo prepare gsm8k --out data/gsm8k
    verl-maxpo prepare math --out data/math --against data/math500/test.parquet
    verl-maxpo prepare reasoning_gym:gcd --out data/gcd --size 5000
    verl-maxpo prepare qa.jsonl --question question --answer answer --out qa
    verl-maxpo prepare ORG/NAME --question problem --answer answer \
        --split train=train test=validation --out data/mine

One folder holds one data set: train.parquet if it has a training split,
test.parquet if it has one to evaluate on, and manifest.json, which records
where the rows come from, what was left out and the files' checksums. If the
folder already holds what you ask for, nothing is written; otherwise its files
are replaced.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from verl_maxpo.cli.common import CommandError, add_json, positive, write_json
from verl_maxpo.data import prepare, reading, tasks
from verl_maxpo.data.rows import DataError, RequestError
from verl_maxpo.data.sources import ANSWER_FORMATS, SOURCES, Source, column_source
from verl_maxpo.rewards.routing import Router

_TASK_PREFIX = "reasoning_gym:"
_TASK_TEST_SIZE = 200
_TEST_SHARE = 0.1


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help=f"{', '.join(SOURCES)}, {_TASK_PREFIX}TASK, a FILE (and a second to evaluate on), or ORG/NAME on the hub",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for this data set")
    parser.add_argument("--suffix", metavar="TEXT", help="text after the question in the prompt ('' for none)")
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave malformed rows out and count them")
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="prepared files whose problems are kept out of training",
    )
    parser.add_argument(
        "--local",
        nargs="+",
        default=[],
        metavar="SPLIT=FILE",
        help="read NAME from local files with its columns: train=FILE test=FILE",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed for drawing and generating (0)")
    parser.add_argument(
        "--test-size",
        type=_size,
        metavar="N",
        help=f"number of test problems of a TASK ({_TASK_TEST_SIZE}); for a FILE or ORG/NAME without a test set, how "
        f"many rows to hold out, as a number or a share below 1 ({_TEST_SHARE}; 0 for none)",
    )
    add_json(parser)
    own = parser.add_argument_group("FILE (parquet, json, jsonl or csv) or ORG/NAME")
    own.add_argument("--question", metavar="COLUMN", help="the problem")
    own.add_argument("--answer", metavar="COLUMN", help="the answer")
    own.add_argument(
        "--answer-format",
        choices=ANSWER_FORMATS,
        default="plain",
        help="what the column holds: the answer alone (default), an integer, or a text with the answer in the last "
        "\\boxed{} or as a number after ####",
    )
    own.add_argument("--keep", nargs="*", metavar="COLUMN", help="other columns for extra_info (default: all)")
    own.add_argument("--data-source", metavar="NAME", help="name that selects the verifier (NAME)")
    own.add_argument("--hub-config", metavar="NAME", help="configuration of ORG/NAME, if not the default")
    own.add_argument(
        "--split",
        nargs="+",
        default=["train=train"],
        metavar="FILE=SPLIT",
        help="splits of ORG/NAME (train=train), such as train=train test=validation",
    )
    generated = parser.add_argument_group(f"{_TASK_PREFIX}TASK")
    generated.add_argument("--size", type=positive, default=10_000, metavar="N", help="training problems (10000)")
    generated.add_argument("--task-config", nargs="+", default=[], metavar="KEY=VALUE", help="options of TASK")


def _size(text: str) -> float:
    """Parse a whole number of rows, or a share of them."""
    try:
        size = float(text)
    except ValueError:
        size = -1
    if not (0 <= size < 1 or (size.is_integer() and size >= 1)):
        raise ArgumentTypeError(f"expected a number of rows, or a share below 1 such as 0.1, got {text!r}")
    return size


def run(options: Namespace) -> int:
    """Prepare the data set, unless it is already there."""
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
    if options.suffix is not None:
        source = replace(source, suffix=options.suffix)
    origin, open_rows = _find_rows(source, options)
    request = prepare.make_request(source, origin, options.against, options.skip_bad_rows)
    out: Path = options.out
    if current := prepare.find_current(out, request):
        files = ", ".join(f"{name} ({file['written']} rows)" for name, file in current["files"].items())
        print(f"{source.name} is prepared in {out} already: {files}")
        return
    if (out / prepare.MANIFEST).exists():
        print(f"{out} holds {source.name} prepared with other options, or changed since: writing it again")
    revision = reading.hub_revision(source) if "hub" in origin else None
    counts = prepare.prepare(source, open_rows(revision), out, options.against, request, revision)
    for split, count in counts.items():
        print(f"{out / split}.parquet: {count}")
        print("".join(f"  {reason}\n" for reason in count.bad_rows), end="")
    if source.suffix:
        print(f"each prompt ends in {source.suffix!r}; --suffix changes that, and --suffix '' leaves it out")
    if options.question:
        kept = dict.fromkeys(name for count in counts.values() for name in count.kept)
        print(f"columns in extra_info for the reward: {', '.join(kept) or 'no others'}")
        _say_what_verifies(source.data_source)


def _say_what_verifies(data_source: str) -> None:
    try:
        print(f"the verifier of {data_source} is {Router({}).find(data_source).verifier}")
    except ValueError as error:
        print(f"before training: {error}, or use your own function: reward.custom_reward_function.path=FILE")


def _find_source(options: Namespace) -> Source:
    name, *others = options.names
    is_task = name.startswith(_TASK_PREFIX)
    if options.task_config and not is_task:
        raise RequestError(f"--task-config is for {_TASK_PREFIX}TASK, not for {name}")
    if not is_task and name not in SOURCES:
        return _own_source(options)
    if others:
        raise RequestError(f"expected one data set, got {' '.join(options.names)}")
    if options.question or options.answer:
        raise RequestError(f"--question and --answer are for a FILE or ORG/NAME, not for {name}")
    if is_task and options.local:
        raise RequestError(f"{name} is generated and does not take --local")
    return tasks.task_source(name.removeprefix(_TASK_PREFIX)) if is_task else SOURCES[name]


def _own_source(options: Namespace) -> Source:
    name, *others = options.names
    if not options.question or not options.answer:
        raise RequestError(
            f"{name} needs --question COLUMN and --answer COLUMN, unless it is one of {', '.join(SOURCES)}, "
            f"{_TASK_PREFIX}TASK"
        )
    is_file = reading.is_file(name)
    if options.local or len(others) > is_file:
        got = " ".join([*options.names, *options.local])
        raise RequestError(f"expected one FILE or two, or one ORG/NAME, got {got}")
    files = dict(zip(("train", "test"), options.names, strict=False))
    splits = files if is_file else _by_split("--split", options.split, ("train", "test"))
    if "test" not in splits and options.test_size != 0:
        splits["test"] = splits["train"]
    return column_source(
        Path(name).stem if is_file else name,
        question=options.question,
        answer=options.answer,
        answer_format=options.answer_format,
        keep=options.keep,
        splits=splits,
        hub="" if is_file else name,
        config=options.hub_config,
        **({"data_source": options.data_source} if options.data_source else {}),
    )


def _find_rows(source: Source, options: Namespace) -> tuple[dict[str, Any], Callable[[str | None], reading.Reader]]:
    """Return where the rows come from, for the manifest, and a function that opens them at a revision of the hub."""
    if source.name.startswith(_TASK_PREFIX):
        return _task_rows(source.name.removeprefix(_TASK_PREFIX), options)
    files = _files(source, options)
    origin: dict[str, Any] = {"hub": source.hub, "config": source.config}
    if files:
        origin = {"local": {split: prepare.fingerprint(file) for split, file in files.items()}}

    def read(split: str, revision: str | None) -> Iterator[reading.Row]:
        return reading.read_file(source, files[split]) if files else reading.read_hub(source, split, revision)

    if source.splits.get("train") != source.splits.get("test"):
        return origin, lambda revision: partial(read, revision=revision)
    size = _TEST_SHARE if options.test_size is None else options.test_size
    origin |= {"test_size": size, "seed": options.seed}
    return origin, lambda revision: reading.hold_out(partial(read, "train", revision), size, options.seed)


def _task_rows(task: str, options: Namespace) -> tuple[dict[str, Any], Callable[[str | None], reading.Reader]]:
    test = _TASK_TEST_SIZE if options.test_size is None else options.test_size
    if test < 1:
        raise RequestError(f"--test-size of {_TASK_PREFIX}{task} must be a number of problems, got {test}")
    sizes, config = {"train": options.size, "test": int(test)}, tasks.task_config(options.task_config)
    origin = {"sizes": sizes, "seed": options.seed, "config": config, "reasoning-gym": version("reasoning-gym")}
    return origin, lambda _: tasks.task_reader(task, sizes, options.seed, config)


def _files(source: Source, options: Namespace) -> dict[str, Path]:
    """Return the file of each split; empty if the rows come from the hub."""
    files = source.splits
    if source.hub:
        files = _by_split("--local", options.local, source.splits)
        if files and files.keys() != source.splits.keys():
            raise RequestError(f"--local needs a file for each split of {source.name}: {', '.join(source.splits)}")
    return {split: reading.existing(Path(file)) for split, file in files.items()}


def _by_split(option: str, pairs: list[str], splits: Collection[str]) -> dict[str, str]:
    """Parse ``train=...`` and ``test=...``."""
    given = dict(pair.partition("=")[::2] for pair in pairs)
    if not given.keys() <= set(splits) or not all(given.values()):
        raise RequestError(f"{option} takes {' '.join(f'{split}=...' for split in splits)}, got {' '.join(pairs)}")
    return given
