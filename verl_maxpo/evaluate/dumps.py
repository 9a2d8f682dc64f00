"""Read dumps of generations: verl's, or any JSON lines with a prompt and a score.

=================  ====================================================================================================
``score``          required, a finite number: what max@k is about
``acc``            0 or 1, whether the sample is correct; not used where a sample of the data source has no such value
``prompt_id``      which prompt it is; without it ``input``, its text; without that ``uid``
``data_source``    reported apart; without it ``all``
``step``           of training; without it the number that the file is named by, as in ``80.jsonl``
``pred``           the extracted answer, for majority votes
=================  ====================================================================================================

verl draws new uids in every evaluation, so that only the text of ``input`` says which prompts of two runs are the same.
Two rows of a data set with the same text are one prompt here, with the samples of both; pictures are no part of it.

Of a session with several rows (verl's V1 trainer names rows ``{uid}_{session}_{index}``, in this order) the last row
carries the score and the first the prompt: it counts as one sample. Rows that V1 adds to fill a training batch (their
uid starts with ``pad``) count as none.

Lines that cannot be used are counted and described in :class:`Malformed`.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from verl_maxpo.rewards.verifiers.answers import canonical_answer

_SHOWN_LINES = 5
_FILE_SIZE = 1 << 42  # more than any file has, so that one number says which file and where in it
_ROW_OF_SESSION = re.compile(r"((?:pad)?[0-9a-f-]{32,36})_(\d+)_(\d+)")
_SEED = re.compile(r"-seed(\d+)(?=/|$)")

#: Data source and step of a sample.
Cell = tuple[str, int | None]


class Line(msgspec.Struct, gc=False):
    """What is used of one line; longer texts beside it are not even decoded."""

    score: float | bool | None = None
    acc: float | bool | None = None
    prompt_id: str | int | None = None
    input: str | None = None
    uid: str | int | None = None
    data_source: str | None = None
    step: int | None = None
    pred: msgspec.Raw = msgspec.Raw(b"null")


@dataclass
class Samples:
    """The samples of one data source and step, about 40 bytes each.

    Attributes:
        prompts: Number of each prompt, 0 to P - 1, by the digest of what identifies it.
        prompt: Number of the prompt of each sample.
        score: Of each sample.
        acc: Of each sample, NaN where the line has none.
        pred: Hash of the answer of each sample, 0 where the line has none.
        place: Where the line of each sample stands, for :meth:`Run.lines`.
        last_place: Of a sample with several rows, where the last stands.
    """

    prompts: dict[bytes, int] = field(default_factory=dict)
    prompt: array[int] = field(default_factory=lambda: array("q"))
    score: array[float] = field(default_factory=lambda: array("d"))
    acc: array[float] = field(default_factory=lambda: array("d"))
    pred: array[int] = field(default_factory=lambda: array("q"))
    place: array[int] = field(default_factory=lambda: array("q"))
    last_place: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The attribute ``prompt`` as an array."""
        return np.array(self.prompt, dtype=np.int64)


@dataclass
class Malformed:
    """Lines of a file that could not be used.

    Attributes:
        file: The file.
        count: How many.
        first: Line number and reason of the first few.
        unfinished: Number of the last line, if the file ends in the middle of it; it is not one of ``count``.
    """

    file: Path
    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)
    unfinished: int | None = None

    def add(self, number: int, reason: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _SHOWN_LINES:
            self.first.append((number, reason))

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> Iterator[str]:
        """Say what could not be used."""
        if self.unfinished:
            read = self.unfinished - 1
            yield f"{self.file} ends in mid-line: the run was probably stopped while writing; {read} lines read"
        if not self.count:
            return
        shown = "; ".join(f"line {number}: {reason}" for number, reason in self.first)
        more = "; ..." if self.count > len(self.first) else ""
        yield f"{self.file}: {self.count} malformed lines left out ({shown}{more})"


@dataclass
class Run:
    """What was read of one file or folder.

    Attributes:
        name: Distinct name of the run.
        files: The dumps.
        cells: Its samples.
        malformed: Files with lines that could not be used.
        padding: Rows that V1 added to fill a batch, left out.
    """

    name: str
    files: list[Path] = field(default_factory=list)
    cells: dict[Cell, Samples] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)
    padding: int = 0

    @property
    def label(self) -> str:
        """The name without its seed: runs with the same label are averaged."""
        return _SEED.sub("", self.name, count=1)

    @property
    def seed(self) -> str | None:
        """What follows ``-seed`` in the name."""
        found = _SEED.search(self.name)
        return found and found[1]

    def texts(self, places: list[int]) -> Iterator[Texts]:
        """Read the texts of lines again, which :func:`read_runs` does not keep.

        Args:
            places: Of :class:`Samples`.

        Yields:
            The texts, in this order.

        Raises:
            OSError: A file cannot be read any more.
        """
        for place in places:
            file, offset = divmod(place, _FILE_SIZE)
            with self.files[file].open("rb") as lines:
                lines.seek(offset)
                yield _texts(lines.readline())


class Texts(msgspec.Struct, gc=False):
    """What a report shows of one line; whatever is no text is shown as JSON."""

    input: Any = ""
    output: Any = ""
    gts: Any = None
    pred: Any = None


def _texts(line: bytes) -> Texts:
    try:
        return msgspec.json.decode(line, type=Texts)
    except (msgspec.DecodeError, UnicodeDecodeError):  # NaN or lone surrogates, as in _Reader
        row = json.loads(line.decode(errors="replace"), parse_constant=lambda _: None)
        return msgspec.json.decode(json.dumps(row, ensure_ascii=False).encode(errors="replace"), type=Texts)


def read_runs(paths: list[Path], *, by_uid: bool = False) -> list[Run]:
    """Read runs.

    Args:
        paths: Files or folders. Of a folder, ``validation/*.jsonl`` are read if there are any, else ``*.jsonl``; if it
            has neither, every folder below that has ``validation/*.jsonl`` is a run.
        by_uid: Tell prompts apart by ``uid`` where there is one, as training does for its groups, and not by data
            source; otherwise by ``prompt_id``, ``input`` or ``uid``.

    Returns:
        The runs, each named by its path, with as much of the parent folders as makes the names distinct.

    Raises:
        ValueError: A path has no dumps, or none of a run's lines can be used, or a path is given twice.
        OSError: A file cannot be read.
    """
    paths = [run for path in paths for run in find_runs(path)]
    names, files = _distinct_names(paths), [_files(path) for path in paths]
    size = sum(file.stat().st_size for of_run in files for file in of_run)
    with tqdm(desc="reading", total=size, unit="B", unit_scale=True, delay=2, leave=False, disable=None) as bar:
        return [_read_run(*run, by_uid, bar.update) for run in zip(names, paths, files, strict=True)]


def _read_run(name: str, path: Path, files: list[Path], by_uid: bool, advance: Callable[[int], object]) -> Run:
    run = Run(name, files)
    reader = _Reader(run, by_uid)
    for file in files:
        reader.read(file, advance)
    if not run.cells:
        unusable = "".join(f"\n{malformed}" for malformed in run.malformed)
        raise ValueError(
            f"{path} has no samples: expected JSON lines with `score` and one of `prompt_id`, `input` and `uid`"
            + unusable
        )
    return run


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = _dumps_of(path)
    if not files:
        raise ValueError(
            f"no dumps found: looked for {path / 'validation' / '*.jsonl'} and {path / '*.jsonl'}; verl writes them "
            "where trainer.validation_data_dir or trainer.rollout_data_dir says"
        )
    return sorted(files, key=lambda file: (_step_of(file) or 0, file))


def _dumps_of(folder: Path) -> list[Path]:
    return list(folder.glob("validation/*.jsonl")) or list(folder.glob("*.jsonl"))


def find_runs(path: Path) -> list[Path]:
    """Return the runs of a path: itself if it is a file or has dumps, else the folders below that have validations.

    Raises:
        ValueError: The path does not exist.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file() or _dumps_of(path):
        return [path]
    return sorted({file.parents[1] for file in path.rglob("validation/*.jsonl")}) or [path]


def _step_of(file: Path) -> int | None:
    return int(file.stem) if file.stem.isdecimal() else None


def _distinct_names(paths: list[Path]) -> list[str]:
    parts = [path.resolve().with_suffix("" if path.suffix == ".jsonl" else path.suffix).parts[1:] for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"every run must be given once, got {', '.join(map(str, paths))}")


class _Reader:
    """Reads files into a run."""

    def __init__(self, run: Run, by_uid: bool) -> None:
        self._run, self._by_uid = run, by_uid
        self._decoder = msgspec.json.Decoder(Line)
        self._session: tuple[str, Samples] | None = None  # of the last row

    def read(self, file: Path, advance: Callable[[int], object]) -> None:
        malformed = Malformed(file)
        step = _step_of(file)
        self._session = None
        place = next_place = self._run.files.index(file) * _FILE_SIZE
        with file.open("rb") as lines:
            for number, text in enumerate(lines, start=1):
                advance(len(text))
                place, next_place = next_place, next_place + len(text)
                if text.isspace():
                    continue
                try:
                    self._add(self._decode(text), step, place)
                except (ValueError, RecursionError) as error:
                    if text.endswith(b"\n") or isinstance(error, msgspec.ValidationError):
                        malformed.add(number, str(error))
                    else:
                        malformed.unfinished = number
        if malformed.count or malformed.unfinished:
            self._run.malformed.append(malformed)

    def _decode(self, text: bytes) -> Line:
        text.decode()  # fields that are skipped would pass with any bytes
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError as error:
            # Python also writes NaN, Infinity and lone surrogates, perhaps in a field that does not matter here.
            try:
                row = json.loads(text, parse_constant=lambda _: None)
            except json.JSONDecodeError:
                raise error from None
            return self._decoder.decode(json.dumps(row, ensure_ascii=False).encode(errors="replace"))

    def _add(self, line: Line, step_of_file: int | None, place: int) -> None:
        if line.score is None or not math.isfinite(line.score):
            raise ValueError("no finite number in `score`")
        row = _ROW_OF_SESSION.fullmatch(line.uid) if isinstance(line.uid, str) else None
        if row and row[1].startswith("pad"):
            self._run.padding += 1
        elif row and int(row[3]) > 0:
            self._replace_score(f"{row[1]}_{row[2]}", line, place)
        else:
            key = _key(line, row[1] if row else line.uid, self._by_uid)
            samples = self._samples(line, step_of_file)
            samples.prompt.append(samples.prompts.setdefault(key, len(samples.prompts)))
            samples.score.append(line.score)
            samples.acc.append(math.nan if line.acc is None else line.acc)
            samples.pred.append(_hash_of_answer(bytes(line.pred)))
            samples.place.append(place)
            self._session = (f"{row[1]}_{row[2]}", samples) if row else None

    def _replace_score(self, session: str, line: Line, place: int) -> None:
        """Let a further row of a session have the last word."""
        if self._session is None or self._session[0] != session:
            raise ValueError(
                "a further row of a session does not follow its first: rows must stand as verl writes them"
            )
        samples = self._session[1]
        assert line.score is not None
        samples.score[-1] = line.score
        samples.acc[-1] = math.nan if line.acc is None else line.acc
        samples.pred[-1] = _hash_of_answer(bytes(line.pred))
        samples.last_place[len(samples) - 1] = place

    def _samples(self, line: Line, step_of_file: int | None) -> Samples:
        source = "all" if self._by_uid or line.data_source is None else line.data_source
        cell = (source, step_of_file if line.step is None else line.step)
        return self._run.cells.setdefault(cell, Samples())


def _key(line: Line, uid: str | int | None, by_uid: bool) -> bytes:
    names = [line.prompt_id, line.input, uid]
    if by_uid:
        names = [uid, line.prompt_id, line.input]
    name = next((name for name in names if name is not None), None)
    if name is None:
        raise ValueError("none of `prompt_id`, `input` and `uid`")
    return blake2b(str(name).encode(errors="surrogatepass"), digest_size=16).digest()


def _hash_of_answer(pred: bytes) -> int:
    """Hash an answer so that ``42``, ``42.0`` and ``"x = 42"`` are one; a list or an object as it stands."""
    if pred == b"null":
        return 0
    if not pred.startswith((b"[", b"{")):
        text = str(msgspec.json.decode(pred))
        pred = canonical_answer(text).encode(errors="surrogatepass")
    return int.from_bytes(blake2b(pred, digest_size=8).digest(), "little", signed=True)


def describe_unread(runs: list[Run]) -> Iterator[str]:
    """Say what of the runs' files was left out.

    Yields:
        A sentence for each file with malformed lines and each run with padding rows.
    """
    for run in runs:
        for malformed in run.malformed:
            yield from malformed.sentences()
        if run.padding:
            yield f"{run.name}: {run.padding} padding rows of verl's trainer left out"


def describe_sizes(runs: list[Run], n: int | None = None) -> Iterator[str]:
    """Say which prompts have other numbers of samples than they should, and which are in several data sources.

    Args:
        runs: What to look at.
        n: How many samples each prompt should have; None for as many as most of the same cell have.

    Yields:
        Sentences, for each data source of a run about the step where most are concerned.
    """
    for run in runs:
        for source in dict.fromkeys(source for source, _ in run.cells):
            sizes = {step: np.bincount(cell.labels) for (of, step), cell in run.cells.items() if of == source}
            yield from _describe_few(f"{run.name}, {source}", sizes, n)
            yield from _describe_many(f"{run.name}, {source}", sizes, n)
        yield from _describe_shared(run)


def _describe_few(where: str, sizes: dict[int | None, NDArray[np.int64]], n: int | None) -> Iterator[str]:
    missing = {step: np.maximum((n or _usual(of)) - of, 0) for step, of in sizes.items()}
    step = max(missing, key=lambda step: int(missing[step].sum()))
    samples, prompts = int(missing[step].sum()), int(np.count_nonzero(missing[step]))
    if samples and n:
        yield (
            f"{where}: {samples} of {n * len(missing[step])} samples are missing{_at(step, missing)}, of {prompts} "
            "prompts: they count as wrong, except in max@k, which leaves them out"
        )
    elif samples:
        yield (
            f"{where}: {prompts} of {len(missing[step])} prompts have fewer samples than the others, "
            f"{int(sizes[step].min())} instead of {_usual(sizes[step])}{_at(step, missing)}: "
            "verl's dumps lack sessions that failed"
        )


def _describe_many(where: str, sizes: dict[int | None, NDArray[np.int64]], n: int | None) -> Iterator[str]:
    above = {step: np.maximum(of - (n or _usual(of)), 0) for step, of in sizes.items()}
    step = max(above, key=lambda step: np.count_nonzero(above[step]))
    prompts = int(np.count_nonzero(above[step]))
    if prompts:
        yield (
            f"{where}: {prompts} of {len(above[step])} prompts have more samples than they should, "
            f"{int(sizes[step].max())} instead of {n or _usual(sizes[step])}{_at(step, above)}: a problem that stands "
            "twice in the data set is one group here"
        )


def _usual(sizes: NDArray[np.int64]) -> int:
    """Return the number of samples that most prompts have, the larger of two that are as frequent."""
    counts = np.bincount(sizes)
    return int(np.flatnonzero(counts == counts.max())[-1])


def _at(step: int | None, by_step: dict[int | None, NDArray[np.int64]]) -> str:
    more = sum(bool(of.any()) for of in by_step.values()) - 1
    where = "" if step is None else f" at step {step}"
    return where + (f" (as many or fewer at {more} other steps)" if more else "")


def _describe_shared(run: Run) -> Iterator[str]:
    sources: dict[bytes, dict[str, None]] = {}
    for (source, _), cell in run.cells.items():
        for key in cell.prompts:
            sources.setdefault(key, {})[source] = None
    shared = [list(of) for of in sources.values() if len(of) > 1]
    if shared:
        names = ", ".join(dict.fromkeys(name for of in shared for name in of))
        yield f"{run.name}: {len(shared)} prompts are in several data sources ({names}) and count in each"
