"""Rows of a data set, from the hub or from local files of the same columns, a batch at a time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from verl_maxpo.data.rows import DataError, RequestError
from verl_maxpo.data.sources import Source

Row = Mapping[str, Any]
#: Opens the rows of a split, named by the file to write.
Reader = Callable[[str], Iterator[Row]]

_BATCH_SIZE = 1000
_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}


def hub_revision(source: Source, *, timeout: float = 10) -> str | None:
    """Return the hub's newest revision of a data set, None in offline mode (``HF_HUB_OFFLINE=1``).

    Args:
        source: The data set.
        timeout: Seconds to wait for the hub.

    Raises:
        DataError: The hub cannot be reached, or does not have the data set.
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

    def read(split: str) -> Iterator[Row]:
        from datasets import load_dataset

        try:
            dataset = load_dataset(source.hub, source.config, split=source.splits[split], revision=revision)
        except Exception as error:
            raise _unreachable(source, error) from error
        yield from tqdm(
            _checked(_rows(dataset), source, source.hub), f"{source.name}/{split}", len(dataset), disable=None
        )

    return read


def local_reader(source: Source, files: Mapping[str, list[Path]]) -> Reader:
    """Return a reader of local files with the hub's columns: Parquet, JSON, JSON Lines or CSV.

    Args:
        source: The data set.
        files: Those of each split.
    """

    def read(split: str) -> Iterator[Row]:
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
    if file.suffix not in _BUILDERS:
        raise RequestError(f"{file}: expected a file ending in {_names(_BUILDERS)}, got {file.suffix or 'no ending'!r}")
    if not file.is_file():
        raise RequestError(f"{file}: there is no such file")
    if file.stat().st_size == 0:
        raise RequestError(f"{file}: the file is empty")
    return file


def _file_rows(file: Path) -> Iterator[Row]:
    from datasets import Features, Value, config, load_dataset

    config.HF_UPDATE_DOWNLOAD_COUNTS = False  # for which a local file too would wait for the hub
    options: dict[str, Any] = {}
    try:
        if file.suffix == ".csv":
            # Texts as they stand: no number guessed from "025", no null from "NA".
            with file.open(newline="", encoding="utf-8-sig") as lines:
                features = Features(dict.fromkeys(next(csv.reader(lines)), Value("string")))
            options = {"features": features, "keep_default_na": False}
        yield from _rows(
            load_dataset(_BUILDERS[file.suffix], data_files=str(file), split="train", streaming=True, **options)
        )
    except Exception as error:
        raise DataError(f"{file} cannot be read as {file.suffix[1:]}: {type(error).__name__}: {error}") from error


def _rows(dataset: Any) -> Iterator[Row]:
    for batch in dataset.iter(_BATCH_SIZE):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _checked(rows: Iterator[Row], source: Source, where: str) -> Iterator[Row]:
    for row in rows:
        if missing := [column for column in source.columns if column not in row]:
            raise DataError(
                f"{where} lacks the column {_names(map(repr, missing))}: {source.name} needs "
                f"{_names(source.columns)}, as in {source.hub} on the hub; it has {_names(row)}"
            )
        yield row


def _unreachable(source: Source, error: Exception) -> DataError:
    reason = (str(error).strip().splitlines() or [""])[0]
    return DataError(
        f"{source.hub} (configuration {source.config or 'default'}) cannot be loaded from the Hugging Face hub: "
        f"{type(error).__name__}: {reason}\n"
        f"without a network, give its files: --local {_usage(source)} (Parquet, JSON, JSON Lines or CSV)"
    )
