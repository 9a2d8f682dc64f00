"""What data files in verl's schema say of themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds

logger = logging.getLogger(__name__)

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}


def data_sources_of(files: Iterable[str], column: str = "data_source") -> list[str] | None:
    """Return the data sources of parquet and JSON files, None if one is not a local file of these kinds.

    Raises:
        ValueError: A file lacks the column.
    """
    sources: set[str] = set()
    for file in files:
        path = Path(file).expanduser()
        if path.suffix not in FORMATS or not path.is_file():
            logger.warning(
                "%s is no local parquet or JSON file: its data sources are not checked before training", file
            )
            return None
        table = ds.dataset(path, format=FORMATS[path.suffix])
        if column not in table.schema.names:
            raise ValueError(
                f"{file} has no column {column!r}, by which reward.reward_kwargs.routes chooses verifiers, but "
                f"{table.schema.names}"
            )
        for batch in table.to_batches(columns=[column]):
            sources.update(pc.unique(batch.column(0)).to_pylist())
    return sorted(sources)
