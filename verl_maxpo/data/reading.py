"""Rows of a data set, from the hub or from files."""

from __future__ import annotations

import glob
import json
import random
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from verl_maxpo.data.rows import DataError, RequestError
from verl_maxpo.data.sources import Source

_KINDS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}


class Row(NamedTuple):
    """A row: where it stands (for messages), its number in the split (from 0) and its values."""

    place: str
    number: int
    values: Mapping[str, Any]


#: Opens the rows of a split, ``train`` or ``test``.
Reader = Callable[[str], Iterator[Row]]


def hub_revision(source: Source, *, timeout: float = 10) -> str | None:
    """Return the newest revision of a data set on the hub, None in offline mode (``HF_HUB_OFFLINE=1``).

    Raises:
        DataError: The hub does not answer in ``timeout`` seconds, or does not have the data set.
    """
    from huggingface_hub import HfApi, is_offline_mode

    if is_offline_mode():
        return None
    try:
        return HfApi().dataset_info(source.hub, timeout=timeout).sha
    except Exception as error:
        raise _unreachable(source, error) from error


def read_hub(source: Source, split: str, revision: str | None) -> Iterator[Row]:
    """Read a split of a data set of the hub, through the hub's cache on this machine."""
    from datasets import load_dataset

    try:
        dataset = load_dataset(source.hub, source.config, split=source.splits[split], revision=revision)
    except Exception as error:
        raise _unreachable(source, error) from error
    return _placed(source, source.hub, _rows(dataset))


def read_file(source: Source, file: Path) -> Iterator[Row]:
    """Read a file that has the columns of a data set: Parquet, JSON, JSON Lines or CSV."""
    return _placed(source, str(file), _file_rows(file))


def hold_out(read: Callable[[], Iterator[Row]], size: float, seed: int) -> Reader:
    """Return a reader that draws the test set from the rows.

    Args:
        read: Opens the rows; called three times.
        size: How many rows to draw, or their share if it is below 1.
        seed: The seed of the draw.
    """
    count = sum(1 for _ in read())
    wanted = max(1, round(size * count)) if size < 1 else int(size)
    drawn = set(random.Random(seed).sample(range(count), min(count, wanted)))
    return lambda split: (row for row in read() if (row.number in drawn) == (split == "test"))


def is_file(name: str) -> bool:
    """Return whether a data set's name is that of a file."""
    return Path(name).suffix in _KINDS or Path(name).is_file()


def existing(file: Path) -> Path:
    """Return the file.

    Raises:
        RequestError: It is missing or empty, or has an unknown ending.
    """
    if file.suffix not in _KINDS:
        raise RequestError(f"{file}: expected a file ending in {', '.join(_KINDS)}, got {file.suffix or 'no ending'!r}")
    if not file.is_file():
        raise RequestError(f"{file}: there is no such file")
    if file.stat().st_size == 0:
        raise RequestError(f"{file}: the file is empty")
    return file


def _placed(source: Source, place: str, rows: Iterator[Mapping[str, Any]]) -> Iterator[Row]:
    """Number the rows, all of which have the same columns, and check that these are there."""
    first = next(rows, None)
    if first is None:
        raise DataError(f"{place} has no rows")
    if missing := [column for column in source.columns if column not in first]:
        raise DataError(
            f"{place} lacks the column {', '.join(map(repr, missing))}: {source.name} needs "
            f"{', '.join(source.columns)}; it has {', '.join(first)}"
        )
    for number, values in enumerate(tqdm(chain([first], rows), Path(place).name, disable=None)):
        yield Row(f"{place}, row {number}", number, values)


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for batch in dataset.iter(1000):
        yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


def _file_rows(file: Path) -> Iterator[dict[str, Any]]:
    from datasets import IterableDataset

    kind = _KINDS[file.suffix]
    if kind == "json":
        yield from _json_rows(file)
        return
    try:
        options = _csv_options(file) if kind == "csv" else {}
        yield from _rows(getattr(IterableDataset, f"from_{kind}")(glob.escape(str(file)), **options))
    except Exception as error:
        raise DataError(f"{file} cannot be read as {kind}: {error}") from error


def _csv_options(file: Path) -> dict[str, Any]:
    """Return options that keep every field as text: "025" is not a number, and "NA" is not null."""
    import pandas as pd
    from datasets import Features, Value

    try:
        head = pd.read_csv(file, nrows=1, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise ValueError("it has no rows") from None
    if not isinstance(head.index, pd.RangeIndex):  # pandas would take the first fields for the names of rows
        raise ValueError(f"line 2 has more fields than the header, which has {len(head.columns)}")
    return {"keep_default_na": False, "features": Features({name: Value("string") for name in head.columns})}


def _json_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Read values as they stand; a column that a row lacks is None there.

    ``datasets`` would turn texts into numbers where a column has both: "007" into 7, "44.40" into 44.4.
    """
    columns: dict[str, None] = {}
    for row in _json_objects(file):
        columns |= dict.fromkeys(row)
    yield from ({**columns, **row} for row in _json_objects(file))


def _json_objects(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, or of lines; a blank line is none."""
    with file.open("rb") as lines:
        if lines.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"["):
            yield from _json_list(file)
            return
        lines.seek(0)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{file}, line {number}: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}, line {number}: expected an object, got {row!r:.60}")
            yield row


def _json_list(file: Path) -> list[dict[str, Any]]:
    try:
        rows: list[Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file} cannot be read as json: {error}") from None
    if strange := [row for row in rows if not isinstance(row, dict)]:
        raise DataError(f"{file} cannot be read as json: expected a list of objects, got {strange[0]!r:.60} in it")
    return rows


def _unreachable(source: Source, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0]
    return DataError(
        f"{source.hub} (configuration {source.config or 'default'}) cannot be loaded from the Hugging Face hub: "
        f"{type(error).__name__}: {reason}\nwithout a network, give files of its columns, see --help"
    )
