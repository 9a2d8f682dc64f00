"""Read data files in verl's schema."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from verl_maxpo.rewards.config import Columns

logger = logging.getLogger(__name__)

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
_BATCH = 256


@dataclass(frozen=True)
class Row:
    """What a reward needs of a row.

    Attributes:
        source: The data source.
        prompt: The text of the last message.
        ground_truth: ``reward_model["ground_truth"]``.
        extra_info: ``extra_info``.
    """

    source: str
    prompt: str
    ground_truth: Any
    extra_info: Mapping[str, Any]

    @classmethod
    def of(cls, values: Mapping[str, Any], columns: Columns) -> Row:
        """Read a row; ValueError where verl could not use it."""
        reward_model, extra_info, prompt = values["reward_model"], values.get("extra_info"), values[columns.prompt]
        if not isinstance(reward_model, Mapping) or "ground_truth" not in reward_model:
            raise _unusable("reward_model", "a mapping such as {style: rule, ground_truth: '4'}", reward_model)
        if not isinstance(extra_info, Mapping | None):
            raise _unusable("extra_info", "a mapping", extra_info)
        messages = prompt if isinstance(prompt, list) else []
        if not messages or not all(isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in messages):
            raise _unusable(columns.prompt, "a list of messages such as [{role: user, content: '2 + 2?'}]", prompt)
        return cls(
            values[columns.source], _text(messages[-1]["content"]), reward_model["ground_truth"], extra_info or {}
        )


def _unusable(column: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{column} must be {expected}, got {type(value).__name__} {str(value)[:60]!r}")


def _text(content: Any) -> str:
    parts = [{"text": content}] if isinstance(content, str) else content or []
    return "".join(part.get("text") or "" for part in parts if isinstance(part, Mapping))


def first_rows(files: Iterable[str], columns: Columns) -> dict[str, list[tuple[str, dict[str, Any]]]] | None:
    """Return the first two rows of every data source with their places; None if a file cannot be read here.

    Raises:
        ValueError: A file does not exist or cannot be read, lacks a column or has no rows, or a row has no source.
    """
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for file in files:
        path = Path(file).expanduser()
        if "://" in file or path.suffix not in FORMATS:
            logger.warning(
                "%s is not a local parquet or JSON file: its data sources are not checked before training", file
            )
            return None
        table = open_table(path, columns)
        for source, numbers in _first_numbers(table, columns.source, path).items():
            rows = table.take(numbers, columns=_used(table, columns)).to_pylist()
            found.setdefault(source, [(f"row {i} of {path}", row) for i, row in zip(numbers, rows, strict=True)])
    return found


def sources_of(path: Path, columns: Columns) -> list[str]:
    """Return the data sources of a file; ValueError as :func:`first_rows`."""
    return sorted(_first_numbers(open_table(path, columns), columns.source, path))


def batches_of(path: Path, columns: Columns) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a file in batches; ValueError as :func:`first_rows`."""
    table = open_table(path, columns)
    for batch in table.to_batches(columns=_used(table, columns), batch_size=_BATCH):
        yield batch.to_pylist()


def open_table(path: Path, columns: Columns) -> ds.Dataset:
    """Open a parquet or JSON file in verl's schema.

    Raises:
        ValueError: It does not exist, is of another kind, cannot be read, lacks a column or has no rows.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"{path} must be a parquet or JSON file: {', '.join(FORMATS)}")
    if not path.is_file():
        raise ValueError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        table = ds.dataset(path, format=FORMATS[path.suffix])
        rows = table.count_rows()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    missing = [name for name in (columns.source, "reward_model", columns.prompt) if name not in table.schema.names]
    if missing:
        raise ValueError(
            f"{path} has no column {' and no column '.join(missing)} ({columns.source} chooses the verifier, "
            f"reward_model has the ground truth, {columns.prompt} the messages); its columns are "
            f"{', '.join(table.schema.names)}"
        )
    if not rows:
        raise ValueError(f"{path} has no rows")
    return table


def _used(table: ds.Dataset, columns: Columns) -> list[str]:
    wanted = (columns.source, columns.prompt, "reward_model", "extra_info")
    return [name for name in wanted if name in table.schema.names]


def _first_numbers(table: ds.Dataset, column: str, path: Path) -> dict[str, list[int]]:
    """Return the numbers of the first two rows of each source."""
    found: dict[str, list[int]] = {}
    for number, source in enumerate(table.to_table(columns=[column]).column(0).to_pylist()):
        if not isinstance(source, str):
            raise ValueError(f"{path}: {column} must be text, but row {number} has {source!r}")
        numbers = found.setdefault(source, [])
        if len(numbers) < 2:
            numbers.append(number)
    return found
