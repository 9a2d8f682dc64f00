"""From rows to a folder that verl reads: without malformed rows, duplicates and test problems; all files or none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_maxpo.data.normalise import problem_id
from verl_maxpo.data.reading import Reader, Row
from verl_maxpo.data.rows import SCHEMA, DataError, Example, RequestError, build_row, schema_of
from verl_maxpo.data.sources import Source

MANIFEST = "manifest.json"

_FORMAT = 3  # of rows and manifest: a new number rebuilds older folders
_BATCH_SIZE = 1000
_SHOWN_ROWS = 5


@dataclass
class Counts:
    """What became of the rows of a split.

    Attributes:
        read: Rows in the source.
        written: Rows in the file.
        bad: Malformed rows, left out.
        contaminated: Training rows whose problem is in a test set, left out.
        duplicates: Rows whose problem came before; the training split leaves them out, a test split keeps them.
        conflicting: Duplicates with another ground truth than the first.
        bad_rows: The first few malformed rows: where each stands (rows from 0) and what is wrong.
        kept: Columns of the source in ``extra_info``, beside the fields of :data:`~.rows.SCHEMA`.
    """

    read: int = 0
    written: int = 0
    bad: int = 0
    contaminated: int = 0
    duplicates: int = 0
    conflicting: int = 0
    bad_rows: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = {
            f"{self.bad} malformed": self.bad,
            f"{self.contaminated} also in a test set": self.contaminated,
            f"{self.duplicates} duplicates ({self.conflicting} with another answer)": self.duplicates,
        }
        return ", ".join([f"{self.written} of {self.read} rows", *(part for part, count in parts.items() if count)])


def fingerprint(file: Path) -> dict[str, str]:
    """Return the name and SHA-256 of a file."""
    return {"file": file.name, "sha256": _sha256(file)}


def make_request(
    source: Source, origin: Mapping[str, Any], against: Sequence[Path], skip_bad_rows: bool
) -> dict[str, Any]:
    """Return everything that decides what is written, as the manifest records it.

    Raises:
        RequestError: ``against`` is given for a data set that has no training split.
    """
    if against and "train" not in source.splits:
        raise RequestError(f"--against keeps problems out of a training set, and {source.name} has none")
    return {
        "format": _FORMAT,
        "set": source.name,
        "origin": origin,
        "data_source": source.data_source,
        "columns": source.columns,
        "answer_format": source.answer_format,
        "splits": source.splits if source.hub else sorted(source.splits),
        "prompt": source.prompt("QUESTION"),
        "skip_bad_rows": skip_bad_rows,
        "against": [fingerprint(file) for file in against],
    }


def find_current(out: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of a folder that already holds what is asked for, None if it has to be written.

    A folder made from files (``--local``) also satisfies a request for the hub's data set, at any revision.

    Raises:
        RequestError: The folder holds another data set, or files that :func:`prepare` did not write.
    """
    manifest = read_manifest(out)
    prepared = manifest.get("request")
    if not isinstance(prepared, dict) or "set" not in prepared:
        if found := [name for name in (MANIFEST, "train.parquet", "test.parquet") if (out / name).exists()]:
            raise RequestError(f"{out / found[0]} was not written by `verl-maxpo prepare`: give --out another folder")
        return None
    if prepared["set"] != request["set"]:
        raise RequestError(f"{out} holds {prepared['set']}: give --out another folder for {request['set']}")
    asked = json.loads(json.dumps(request))  # tuples become lists, as in the manifest
    if "local" in prepared["origin"] and "hub" in asked["origin"]:
        asked["origin"] = prepared["origin"]
    files = manifest["files"].items()
    intact = all((out / name).is_file() and _sha256(out / name) == file["sha256"] for name, file in files)
    return manifest if prepared == asked and intact else None


def prepare(
    source: Source,
    reader: Reader,
    out: Path,
    against: Sequence[Path],
    request: Mapping[str, Any],
    revision: str | None,
) -> dict[str, Counts]:
    """Write the files of a data set and their manifest, all or none, and count what became of the rows.

    Memory holds only the ids and ground truths of distinct problems.

    Args:
        source: The data set.
        reader: Opens the rows of a split.
        out: The folder.
        against: Prepared files whose problems are kept out of the training set.
        request: What was asked for, see :func:`make_request`.
        revision: The hub's revision, for the manifest.

    Raises:
        DataError: Rows are malformed and ``request`` does not skip those, or no row is left.
    """
    held_out = {identity for file in against for identity in _problem_ids(file)}
    counts: dict[str, Counts] = {}
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=".unfinished-") as folder:
        for split in sorted(source.splits, key=("test", "train").index):
            selection = _Selection(source, split, held_out)
            _write_split(selection, reader(split), Path(folder) / f"{split}.parquet")
            _refuse(selection.counts, f"{source.name}/{split}", skip_bad_rows=request["skip_bad_rows"])
            held_out |= selection.ground_truths.keys()
            counts[split] = selection.counts
        files = {f"{split}.parquet": asdict(counts[split]) for split in source.splits}
        for name in files:
            files[name]["sha256"] = _sha256(Path(folder) / name)
        manifest = {"request": request, "revision": revision, "files": files}
        (Path(folder) / MANIFEST).write_text(
            json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        for name in read_manifest(out).get("files", {}).keys() - files:
            (out / name).unlink(missing_ok=True)
        for name in (*files, MANIFEST):
            (Path(folder) / name).replace(out / name)
    return counts


@dataclass
class _Selection:
    """Chooses the rows of a split that are written, and counts all."""

    source: Source
    split: str
    held_out: Set[str]
    counts: Counts = field(default_factory=Counts)
    ground_truths: dict[str, str] = field(default_factory=dict)

    def rows(self, rows: Iterator[Row]) -> Iterator[dict[str, Any]]:
        for place, index, values in rows:
            self.counts.read += 1
            try:
                example = self.source.parse(values)
            except ValueError as error:
                self.counts.bad += 1
                if self.counts.bad <= _SHOWN_ROWS:
                    self.counts.bad_rows.append(f"{place}: {error}")
                continue
            if self._is_wanted(example):
                self.counts.written += 1
                yield build_row(
                    example,
                    data_source=self.source.data_source,
                    prompt=self.source.prompt(example.question),
                    ability=self.source.ability,
                    split=self.split,
                    index=index,
                )

    def _is_wanted(self, example: Example) -> bool:
        identity = problem_id(example.question)
        if self.split == "train" and identity in self.held_out:
            self.counts.contaminated += 1
            return False
        if identity in self.ground_truths:
            self.counts.duplicates += 1
            self.counts.conflicting += self.ground_truths[identity] != example.ground_truth
            return self.split != "train"
        self.ground_truths[identity] = example.ground_truth
        return True


def _write_split(selection: _Selection, rows: Iterator[Row], file: Path) -> None:
    selected = selection.rows(rows)
    batch = list(islice(selected, _BATCH_SIZE))
    try:
        schema = schema_of(batch)
        fields = schema.field("extra_info").type.fields[SCHEMA.field("extra_info").type.num_fields :]
        selection.counts.kept = [field.name for field in fields]
        with pq.ParquetWriter(file, schema) as writer:
            while batch:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch = list(islice(selected, _BATCH_SIZE))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"{selection.source.name}/{selection.split}: a column has values of several types: {error}; make them "
            "texts, or leave it out by naming those to keep after --keep"
        ) from error


def _refuse(counts: Counts, name: str, *, skip_bad_rows: bool) -> None:
    if counts.bad and not skip_bad_rows:
        more = ["..."] if counts.bad > _SHOWN_ROWS else []
        shown = "\n  ".join([*counts.bad_rows, *more])
        raise DataError(
            f"{name} has {counts.bad} malformed rows of {counts.read} (the first is row 0):\n  {shown}\n"
            "fix them, or leave them out with --skip-bad-rows"
        )
    if not counts.written:
        raise DataError(f"{name}: no row is left ({counts})")


def _problem_ids(file: Path) -> Iterator[str]:
    """Yield the problems of a prepared file, worked out anew: the rule may be newer than the file."""
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_BATCH_SIZE, columns=["extra_info.question"]):
                yield from (problem_id(row["extra_info"]["question"]) for row in batch.to_pylist())
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise RequestError(
            f"--against {file}: expected a prepared file, whose extra_info has the question; got {error!r:.200}"
        ) from error


def read_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of a folder, empty where there is none that can be read."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _sha256(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
