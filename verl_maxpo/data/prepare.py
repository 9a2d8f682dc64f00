"""From rows to a folder that verl reads: malformed rows, duplicates and test problems found, files written whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_maxpo.data.normalise import problem_id
from verl_maxpo.data.reading import PlacedRow, Reader
from verl_maxpo.data.rows import SCHEMA, DataError, Problem, RequestError, build_row
from verl_maxpo.data.sources import Source

MANIFEST = "manifest.json"

_FORMAT = 1  # of rows and manifest: another number rebuilds what was prepared before
_BATCH_SIZE = 1000
_SHOWN_ROWS = 5


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        instruction: In place of the data set's own; None keeps it.
        max_rows: The most rows of a file, for small trials.
        skip_bad_rows: Leave malformed rows out and count them, instead of stopping.
        against: Prepared files whose problems are kept out of the training set.
    """

    instruction: str | None = None
    max_rows: int | None = None
    skip_bad_rows: bool = False
    against: tuple[Path, ...] = ()


@dataclass
class Counts:
    """What became of a split's rows.

    Attributes:
        read: Rows of the source.
        written: Rows of the file.
        bad: Malformed ones, left out.
        contaminated: Of the training split, those whose problem is in a test set, left out.
        duplicates: Those whose problem came before: left out of the training split, kept in a test split.
        conflicting: Those of the duplicates whose ground truth is another than that of the first.
        bad_rows: The first few malformed ones: where each stands (rows from 0, lines from 1) and what is wrong.
    """

    read: int = 0
    written: int = 0
    bad: int = 0
    contaminated: int = 0
    duplicates: int = 0
    conflicting: int = 0
    bad_rows: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = {
            f"{self.bad} malformed": self.bad,
            f"{self.contaminated} also in a test set": self.contaminated,
            f"{self.duplicates} duplicates ({self.conflicting} with another answer)": self.duplicates,
        }
        return ", ".join([f"{self.written} of {self.read} rows", *(part for part, count in parts.items() if count)])


def fingerprints(files: Iterable[Path]) -> list[dict[str, str]]:
    """Return name and SHA-256 of files."""
    return [{"file": file.name, "sha256": _sha256(file)} for file in files]


def make_request(source: Source, origin: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Return all that decides what is written, as the manifest records it.

    Raises:
        RequestError: ``against`` is given for a data set that has no training split.
    """
    if options.against and "train" not in source.splits:
        raise RequestError(f"--against keeps problems out of a training set, and {source.name} has none")
    return {
        "format": _FORMAT,
        "set": source.name,
        "origin": origin,
        "data_source": source.data_source,
        "columns": source.columns,
        "answer_format": source.answer_format,
        "splits": source.splits,
        "prompt": source.prompt("QUESTION", options.instruction),
        "max_rows": options.max_rows,
        "skip_bad_rows": options.skip_bad_rows,
        "against": fingerprints(options.against),
    }


def find_current(out: Path, request: Mapping[str, Any], *, overwrite: bool = False) -> dict[str, Any] | None:
    """Return the manifest of a folder that holds what is asked for, intact; None if it is to be made.

    The hub's revision is not compared, and files that were given in place of the hub's (``--local``) will do: what was
    once prepared stays until it is overwritten, with ``overwrite`` also the same data set with other options.

    Raises:
        RequestError: The folder holds something else.
    """
    manifest = read_manifest(out)
    if manifest is None:
        if found := [name for name in ("train.parquet", "test.parquet") if (out / name).exists()]:
            raise RequestError(f"{out} has {found[0]} but no {MANIFEST}: give --out another folder, or remove the file")
        return None
    prepared = manifest.get("request")
    if not isinstance(prepared, dict) or "set" not in prepared:
        raise RequestError(
            f"{out / MANIFEST} is damaged or was not written by `verl-maxpo prepare`: give --out another folder"
        )
    if prepared["set"] != request["set"]:
        raise RequestError(f"{out} holds {prepared['set']}: give --out another folder for {request['set']}")
    if differing := _differing(prepared, request):
        if overwrite:
            return None
        raise RequestError(
            f"{out} holds {request['set']}, prepared otherwise:\n"
            + "".join(f"  {key}: {there:.300} there, {asked:.300} asked for\n" for key, there, asked in differing)
            + "give --out another folder, or replace it with --overwrite"
        )
    files: dict[str, Any] = manifest.get("files", {})
    intact = all((out / name).is_file() and _sha256(out / name) == file.get("sha256") for name, file in files.items())
    return manifest if files and intact else None


def _differing(prepared: Mapping[str, Any], request: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the keys that differ with both values; files in place of the hub's are no difference."""
    asked = json.loads(json.dumps(request))  # tuples become lists, as in the manifest
    if "local" in prepared.get("origin", {}) and "hub" in asked["origin"]:
        asked["origin"] = prepared["origin"]
    keys = [key for key in {**prepared, **asked} if prepared.get(key) != asked.get(key)]
    return [(key, json.dumps(prepared.get(key)), json.dumps(asked.get(key))) for key in keys]


def prepare(
    source: Source,
    reader: Reader,
    out: Path,
    *,
    options: Options,
    request: Mapping[str, Any],
    revision: str | None = None,
) -> dict[str, Counts]:
    """Write a data set's files and their manifest, all of them or none, and count what became of each split's rows.

    Memory grows only with the number of distinct problems, by their ids and ground truths.

    Raises:
        DataError: Rows are malformed, or none is left.
    """
    held_out = {identity for file in options.against for identity in _problem_ids(file)}
    counts: dict[str, Counts] = {}
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=".unfinished-") as folder:
        for split in sorted(source.splits, key=("test", "train").index):
            selection = _Selection(source, split, options, held_out)
            _write_split(selection, reader(split), Path(folder) / f"{split}.parquet")
            held_out |= selection.ground_truths.keys()
            counts[split] = selection.counts
        files = {f"{split}.parquet": asdict(counts[split]) for split in source.splits}
        for name in files:
            files[name]["sha256"] = _sha256(Path(folder) / name)
        manifest = {"request": request, "revision": revision, "files": files}
        (Path(folder) / MANIFEST).write_text(
            json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        for name in (*files, MANIFEST):
            (Path(folder) / name).replace(out / name)
    return counts


@dataclass
class _Selection:
    """The rows of a split that are written, and counts of all."""

    source: Source
    split: str
    options: Options
    held_out: Set[str]
    counts: Counts = field(default_factory=Counts)
    ground_truths: dict[str, str] = field(default_factory=dict)

    def rows(self, rows: Iterator[PlacedRow]) -> Iterator[dict[str, Any]]:
        for index, (place, row) in enumerate(rows):
            if self.counts.written == self.options.max_rows:
                return
            self.counts.read += 1
            try:
                problem = self.source.parse(row)
            except ValueError as error:
                self._note_bad(f"{place}: {error}")
                continue
            if self._is_wanted(problem):
                self.counts.written += 1
                yield build_row(
                    problem,
                    data_source=self.source.data_source,
                    prompt=self.source.prompt(problem.question, self.options.instruction),
                    ability=self.source.ability,
                    split=self.split,
                    index=index,
                )

    def _note_bad(self, reason: str) -> None:
        self.counts.bad += 1
        if self.counts.bad <= _SHOWN_ROWS:
            self.counts.bad_rows.append(reason)

    def _is_wanted(self, problem: Problem) -> bool:
        identity = problem_id(problem.question)
        if self.split == "train" and identity in self.held_out:
            self.counts.contaminated += 1
            return False
        if identity in self.ground_truths:
            self.counts.duplicates += 1
            self.counts.conflicting += self.ground_truths[identity] != problem.ground_truth
            return self.split != "train"
        self.ground_truths[identity] = problem.ground_truth
        return True


def _write_split(selection: _Selection, rows: Iterator[PlacedRow], file: Path) -> None:
    selected = selection.rows(rows)
    with pq.ParquetWriter(file, SCHEMA) as writer:
        while batch := list(islice(selected, _BATCH_SIZE)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
    counts, name = selection.counts, f"{selection.source.name}/{selection.split}"
    if counts.bad and not selection.options.skip_bad_rows:
        more = ["..."] if counts.bad > _SHOWN_ROWS else []
        shown = "\n  ".join([*counts.bad_rows, *more])
        raise DataError(
            f"{name} has {counts.bad} malformed rows of {counts.read}:\n  {shown}\n"
            "fix them, or leave them out with --skip-bad-rows"
        )
    if not counts.written:
        raise DataError(f"{name}: no row is left ({counts})")


def _problem_ids(file: Path) -> Iterator[str]:
    """Yield the problems of a prepared file; worked out anew, as the rule may be newer than the file."""
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_BATCH_SIZE, columns=["extra_info.question"]):
                yield from (problem_id(row["extra_info"]["question"]) for row in batch.to_pylist())
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise RequestError(
            f"--against {file}: expected a prepared file, whose extra_info has the question; got {error!r:.200}"
        ) from error


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, None where there is none, empty where it cannot be read."""
    file = out / MANIFEST
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _sha256(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
