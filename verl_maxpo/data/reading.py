"""Rows of a data set, from the hub or from local files of the same columns, a batch at a time."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from verl_maxpo.data.rows import DataError, RequestError
from verl_maxpo.data.sources import Source

Row = Mapping[str, Any]
#: Where a row stands, for messages, and the row.
PlacedRow = tuple[str, Row]
#: Opens the rows of a split, named by the file to write.
Reader = Callable[[str], Iterator[PlacedRow]]

_BATCH_SIZE = 1000
_LONGEST_CSV_FIELD = 1 << 30


def hub_revision(source: Source, *, timeout: float = 10) -> str | None:
    """Return the hub's newest revision of a data set, None in offline mode (``HF_HUB_OFFLINE=1``).

    Raises:
        DataError: The hub cannot be reached in ``timeout`` seconds, or does not have the data set.
    """
    from huggingface_hub import HfApi, is_offline_mode

    if is_offline_mode():
        return None
    try:
        return HfApi().dataset_info(source.hub, timeout=timeout).sha
    except Exception as error:
        raise _unreachable(source, error) from error


def hub_reader(source: Source, revision: str | None) -> Reader:
    """Return a reader of a data set of the hub, through the hub's cache on this machine."""

    def read(split: str) -> Iterator[PlacedRow]:
        from datasets import load_dataset

        try:
            dataset = load_dataset(source.hub, source.config, split=source.splits[split], revision=revision)
        except Exception as error:
            raise _unreachable(source, error) from error
        yield from tqdm(
            _checked(_hub_rows(dataset), source, source.hub), f"{source.name}/{split}", len(dataset), disable=None
        )

    return read


def local_reader(source: Source, files: Mapping[str, list[Path]]) -> Reader:
    """Return a reader of local files with the hub's columns: Parquet, JSON, JSON Lines or CSV."""

    def read(split: str) -> Iterator[PlacedRow]:
        for file in files[split]:
            rows = _checked(_file_rows(file), source, str(file))
            yield from tqdm(rows, f"{source.name}/{split} from {file.name}", disable=None)

    return read


def local_files(source: Source, arguments: Iterable[str]) -> dict[str, list[Path]]:
    """Read ``FILE`` or ``SPLIT=FILE`` arguments.

    Raises:
        RequestError: A split has no file, a file is missing or empty or has an unknown ending.
    """
    files: dict[str, list[Path]] = {split: [] for split in source.splits}
    for argument in arguments:
        split, equals, name = argument.partition("=")
        if equals and split in files:
            files[split].append(_existing(Path(name)))
        elif len(files) == 1:
            files[next(iter(files))].append(_existing(Path(argument)))
        else:
            raise RequestError(f"{source.name} needs --local {_usage(source)}, got {argument!r}")
    if missing := [split for split in files if not files[split]]:
        raise RequestError(f"{source.name} needs --local {_usage(source)}, got no file for {_names(missing)}")
    return files


def _usage(source: Source) -> str:
    return " ".join(f"{split}=FILE" for split in source.splits)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _existing(file: Path) -> Path:
    if file.suffix not in _FORMATS:
        raise RequestError(f"{file}: expected a file ending in {_names(_FORMATS)}, got {file.suffix or 'no ending'!r}")
    if not file.is_file():
        raise RequestError(f"{file}: there is no such file")
    if file.stat().st_size == 0:
        raise RequestError(f"{file}: the file is empty")
    return file


def _file_rows(file: Path) -> Iterator[PlacedRow]:
    try:
        yield from _FORMATS[file.suffix](file)
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read as {file.suffix[1:]}: {error}") from error


def _parquet_rows(file: Path) -> Iterator[PlacedRow]:
    with pq.ParquetFile(file) as parquet:
        rows = (row for batch in parquet.iter_batches(_BATCH_SIZE) for row in batch.to_pylist())
        yield from ((f"{file}, row {index}", row) for index, row in enumerate(rows))


def _json_rows(file: Path) -> Iterator[PlacedRow]:
    """Yield the objects of a list, or of lines, which are often called ``.json`` too."""
    with file.open("rb") as stream:
        is_list = stream.read(1024).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    if not is_list:
        yield from _json_line_rows(file)
        return
    for index, row in enumerate(json.loads(file.read_bytes())):
        yield _object(f"{file}, row {index}", row)


def _json_line_rows(file: Path) -> Iterator[PlacedRow]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.isspace():
                place = f"{file}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{place}: {error}") from error
                yield _object(place, row)


def _object(place: str, row: Any) -> PlacedRow:
    if not isinstance(row, dict):
        raise ValueError(f"{place}: expected an object, got {row!r:.60}")
    return place, row


def _csv_rows(file: Path) -> Iterator[PlacedRow]:
    """Yield the rows, all of texts as they stand: no number guessed from "025", no null from "NA"."""
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                place = f"{file}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise ValueError(f"expected {len(reader.fieldnames or ())} fields, as the header has")
                yield place, row
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{file}, line {reader.line_num}: {error}") from error


_FORMATS = {".parquet": _parquet_rows, ".json": _json_rows, ".jsonl": _json_line_rows, ".csv": _csv_rows}


def _hub_rows(dataset: Any) -> Iterator[PlacedRow]:
    rows = (zip(*batch.values(), strict=True) for batch in dataset.iter(_BATCH_SIZE))
    for index, values in enumerate(chain.from_iterable(rows)):
        yield f"row {index}", dict(zip(dataset.column_names, values, strict=True))


def _checked(rows: Iterator[PlacedRow], source: Source, where: str) -> Iterator[PlacedRow]:
    """Check the columns of the first row; where a later one lacks one, it is None there."""
    place, first = next(rows, (None, None))
    if place is None or first is None:
        raise DataError(f"{where} has no rows")
    if missing := [column for column in source.columns if column not in first]:
        raise DataError(
            f"{where} lacks the column {_names(map(repr, missing))}: {source.name} needs "
            f"{_names(source.columns)}{_as_on_the_hub(source)}; it has {_names(first)}"
        )
    yield place, first
    absent = dict.fromkeys(source.columns)
    yield from ((place, {**absent, **row}) for place, row in rows)


def _as_on_the_hub(source: Source) -> str:
    return f", as in {source.hub} on the hub" if source.hub else ""


def _unreachable(source: Source, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0]
    return DataError(
        f"{source.hub} (configuration {source.config or 'default'}) cannot be loaded from the Hugging Face hub: "
        f"{type(error).__name__}: {reason}\n"
        f"without a network, give its files: --local {_usage(source)} (Parquet, JSON, JSON Lines or CSV)"
    )
