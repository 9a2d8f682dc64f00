"""What data files in verl's schema say of themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

logger = logging.getLogger(__name__)

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
SOURCE_COLUMN = "data_source"


@dataclass(frozen=True)
class Row:
    """What a verifier needs of a row.

    Attributes:
        place: Row number and file, for messages.
        ground_truth: ``reward_model["ground_truth"]``.
        extra_info: ``extra_info``.
    """

    place: str
    ground_truth: Any
    extra_info: Mapping[str, Any]

    @classmethod
    def of(cls, row: Mapping[str, Any], place: str) -> Row:
        """Read a row in verl's schema."""
        return cls(place, (row.get("reward_model") or {}).get("ground_truth"), row.get("extra_info") or {})


def first_rows(files: Iterable[str], column: str = SOURCE_COLUMN) -> dict[str, Row] | None:
    """Return the first row of every data source, None if a file is not a local parquet or JSON file.

    ``column`` has the data source, verl's ``data.reward_fn_key``.

    Raises:
        ValueError: A file does not exist or cannot be read, lacks a column or has no rows, or a row has no source.
    """
    found: dict[str, Row] = {}
    for file in files:
        path = Path(file).expanduser()
        if "://" in file or path.suffix not in FORMATS:
            logger.warning(
                "%s is no local parquet or JSON file: its data sources are not checked before training", file
            )
            return None
        for source, row in first_rows_of(path, column):
            found.setdefault(source, row)
    return found


def first_rows_of(path: Path, column: str = SOURCE_COLUMN) -> Iterator[tuple[str, Row]]:
    """Yield the first row of every data source of one file; ValueError as :func:`first_rows`."""
    table = open_table(path, column)
    columns = [name for name in ("reward_model", "extra_info") if name in table.schema.names]
    for source, number in _first_numbers(table, column, path).items():
        row = table.take([number], columns=columns).to_pylist()[0]
        yield source, Row.of(row, f"row {number} of {path}")


def open_table(path: Path, column: str = SOURCE_COLUMN) -> ds.Dataset:
    """Open a parquet or JSON file in verl's schema.

    Raises:
        ValueError: It does not exist, is of another kind, cannot be read, lacks a column or has no rows.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"{path} must be a parquet or JSON file: {', '.join(FORMATS)}")
    if not path.is_file():
        raise ValueError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    try:
        table = ds.dataset(path, format=FORMATS[path.suffix])
        rows = table.count_rows()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    missing = [name for name in (column, "reward_model") if name not in table.schema.names]
    if missing:
        raise ValueError(
            f"{path} has no column {' and no column '.join(missing)} ({column} chooses the verifier, reward_model has "
            f"the ground truth); its columns are {', '.join(table.schema.names)}"
        )
    if not rows:
        raise ValueError(f"{path} has no rows")
    return table


def _first_numbers(table: ds.Dataset, column: str, path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    start = 0
    for batch in table.to_batches(columns=[column]):
        for number, source in enumerate(batch.column(0).to_pylist(), start):
            found.setdefault(source, number)
        start += len(batch)
    for source, number in found.items():
        if not isinstance(source, str):
            raise ValueError(f"{path}: {column} must be text, but row {number} has {source!r}")
    return found
