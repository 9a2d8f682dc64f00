"""Rows of a data set, read from the hub or from files by ``datasets``."""

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
    """Number the rows and check the columns of the first; a column that a later row lacks is None there."""
    first = next(rows, None)
    if first is None:
        raise DataError(f"{place} has no rows")
    if missing := [column for column in source.columns if column not in first]:
        raise DataError(
            f"{place} lacks the column {', '.join(map(repr, missing))}: {source.name} needs "
            f"{', '.join(source.columns)}; it has {', '.join(first)}"
        )
    absent = dict.fromkeys(source.columns)
    for number, values in enumerate(tqdm(chain([first], rows), Path(place).name, disable=None)):
        if late := [column for column in values if column not in first]:
            raise DataError(f"{place}, row {number} has columns that row 0 lacks: {', '.join(late)}; add them there")
        yield Row(f"{place}, row {number}", number, {**absent, **values})


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for batch in dataset.iter(1000):
        yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


def _file_rows(file: Path) -> Iterator[dict[str, Any]]:
    from datasets import IterableDataset

    kind = _KINDS[file.suffix]
    try:
        options = _csv_options(file) if kind == "csv" else {}
        yield from _rows(getattr(IterableDataset, f"from_{kind}")(glob.escape(str(file)), **options))
    except Exception as error:
        reason = (_broken_json(file) if kind == "json" else None) or f" cannot be read as {kind}: {error}"
        raise DataError(f"{file}{reason}") from error


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


def _broken_json(file: Path) -> str | None:
    """Describe the first line that is not a JSON object; None if the file is a list."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip() and not isinstance(row := json.loads(line.strip()), dict):
                    return None if number == 1 else f", line {number}: expected an object, got {row!r:.60}"
            except ValueError as error:
                return None if line.startswith(b"[") else f", line {number}: {error}"
    return None


def _unreachable(source: Source, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0]
    return DataError(
        f"{source.hub} (configuration {source.config or 'default'}) cannot be loaded from the Hugging Face hub: "
        f"{type(error).__name__}: {reason}\nwithout a network, give files of its columns, see --help"
    )
