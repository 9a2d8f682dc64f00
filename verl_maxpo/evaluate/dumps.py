"""Read dumps of generations: verl's, or any JSON lines with a prompt and a score.

=================  ====================================================================================================
``score``          required, a finite number; max@k is computed from it
``acc``            0 or 1: whether the sample is correct; ignored if any sample of the data source has no such value
``prompt_id``      identifies the prompt; if absent, ``uid`` does; if that is absent too, ``input`` with ``gts``
``input``          the text of the prompt, as verl names it, or ``prompt``
``gts``            the gold answer
``data_source``    each is reported separately; if absent, ``all``
``step``           the training step; if absent, the number in the file's name, as in ``80.jsonl``
``answer``         the extracted answer, which votes (``pred`` in older dumps); null and "" do not vote
``status``         how the verifier ended; older dumps have ``unscored``, which is 1 if there is no verdict
=================  ====================================================================================================

verl draws new uids in every evaluation, so only texts show which prompts two runs share. Prompts are matched by
``input``, and by ``gts`` too where several prompts have the same text (which does not include pictures).

A session may have several rows, which verl's V1 trainer names ``{uid}_{session}_{index}`` and writes in this order.
They count as one sample: the first row has the prompt, the last one the score. Rows that V1 adds to fill a training
batch (their uid starts with ``pad``) do not count.

Lines that cannot be used are counted and described in :attr:`Run.left_out`.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from verl_maxpo.evaluate.names import distinct_names, labels_of, seed_of

#: How a verifier can end. The last three mean that there is no verdict; ``unscored`` is from older dumps.
STATUSES = ("ok", "no_answer", "unparseable", "refused", "timeout", "crash", "unscored")
WITHOUT_VERDICT = STATUSES[4:]

#: The value of ``select_by`` for majority votes.
VOTE = "vote"

_SHOWN_LINES = 5
_FILE_SIZE = 1 << 42  # larger than any file, so that one number gives both the file and the offset in it
_ROW_OF_SESSION = re.compile(r"((?:pad)?[0-9a-f-]{32,36})_(\d+)_(\d+)")
_ABSENT = msgspec.Raw(b"")

#: Data source and step of a sample.
Cell = tuple[str, int | None]

_Decoded = TypeVar("_Decoded")


class Line(msgspec.Struct, gc=False):
    """The fields of a line that are used; long texts are not even decoded."""

    score: float | bool | None = None
    acc: float | bool | None = None
    prompt_id: str | int | None = None
    input: str | None = None
    prompt: str | None = None
    uid: str | int | None = None
    gts: msgspec.Raw = _ABSENT
    data_source: str | None = None
    step: int | None = None
    output: msgspec.Raw = _ABSENT
    answer: msgspec.Raw = _ABSENT
    pred: msgspec.Raw = _ABSENT
    status: msgspec.Raw = _ABSENT
    unscored: msgspec.Raw = _ABSENT


class Texts(msgspec.Struct, gc=False):
    """The fields of a line that a report shows; values that are not texts are shown as JSON."""

    input: Any = ""
    output: Any = ""
    gts: Any = None
    answer: Any = None
    pred: Any = None
    status: Any = None


@dataclass(frozen=True)
class Samples:
    """The samples of one data source and step, about 56 bytes each.

    Attributes:
        prompts: For each prompt, its number from 0 to P - 1; the key is a digest that is the same in all runs.
        labels: For each sample, the number of its prompt.
        acc: NaN where the line has none.
        answer: A hash of the answer, 0 where there is none.
        selector: The number to select by, NaN where the line has none.
        status: Index in :data:`STATUSES`, -1 where the line has none.
        line: A number that copies of a sample share: a hash of its uid and session, or else of its line. If neither
            would tell samples apart, it is the sample's place.
        place: Where the line is, for :meth:`Run.line`.
        last_place: For samples with several rows, where the last row is.
        without_answer: How many lines have no column for the answer.
        alike: How many prompts have the same text and gold answer as another prompt.
        named: Whether every sample has a uid and a session.
    """

    prompts: dict[bytes, int]
    labels: NDArray[np.int64]
    score: NDArray[np.float64]
    acc: NDArray[np.float64]
    answer: NDArray[np.int64]
    selector: NDArray[np.float64]
    status: NDArray[np.int8]
    line: NDArray[np.int64]
    place: NDArray[np.int64]
    last_place: dict[int, int]
    without_answer: int
    alike: int
    named: bool

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class Run:
    """What was read from one file or folder.

    Attributes:
        name: Name of the run, different from all other names.
        label: Name that the run shares with its other seeds; runs with the same label are averaged.
        files: The dumps.
        cells: The samples.
        left_out: Sentences that say what was not used.
    """

    name: str
    label: str
    files: list[Path]
    cells: dict[Cell, Samples] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def seed(self) -> str | None:
        """The number after ``-seed`` in the name."""
        return seed_of(self.name)

    def line(self, place: int) -> bytes:
        """Read a line again, as :func:`read_runs` does not keep it; OSError if its file is gone."""
        file, offset = divmod(place, _FILE_SIZE)
        with self.files[file].open("rb") as lines:
            lines.seek(offset)
            return lines.readline()

    def texts(self, place: int) -> Texts:
        """Read the texts of a line again."""
        return _decode(msgspec.json.Decoder(Texts), self.line(place))


def read_runs(paths: list[Path], select_by: str | None = None) -> list[Run]:
    """Read runs.

    Args:
        paths: Files or folders. A folder's ``validation/*.jsonl`` are read if there are any, else its ``*.jsonl``. If
            it has neither, every folder below it with ``validation/*.jsonl`` is a run.
        select_by: A column of numbers to read as well, or :data:`VOTE`, which needs no such column.

    Returns:
        The runs. Each is named by its path, with as many parent folders as it takes to make the names distinct.

    Raises:
        ValueError: A path has no dumps, none of a run's lines can be used, a path is given twice, or a run has no
            number in the column.
        OSError: A file cannot be read.
    """
    paths = [run for path in paths for run in _find_runs(path)]
    names, files = distinct_names(paths), [_files(path) for path in paths]
    runs = [Run(*of_run) for of_run in zip(names, labels_of(names), files, strict=True)]
    size = sum(file.stat().st_size for run in runs for file in run.files)
    with tqdm(desc="reading", total=size, unit="B", unit_scale=True, delay=2, leave=False, disable=None) as bar:
        for path, run in zip(paths, runs, strict=True):
            _Reader(run, None if select_by == VOTE else select_by).read(path, bar.update)
    return runs


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


def _find_runs(path: Path) -> list[Path]:
    """Return the path itself if it is a file or has dumps, else the folders below it that have validations."""
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file() or _dumps_of(path):
        return [path]
    return sorted({file.parents[1] for file in path.rglob("validation/*.jsonl")}) or [path]


def _step_of(file: Path) -> int | None:
    return int(file.stem) if file.stem.isdecimal() else None


def _decode(decoder: msgspec.json.Decoder[_Decoded], text: bytes) -> _Decoded:
    """Decode a line, even if it has NaN, Infinity or lone surrogates, which Python writes but JSON does not allow."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            row = json.loads(text.decode(errors="replace"), parse_constant=lambda _: None)
        except json.JSONDecodeError:
            raise error from None
        return decoder.decode(json.dumps(row, ensure_ascii=False).encode(errors="replace"))


class _Reader:
    """Reads the files of a run."""

    def __init__(self, run: Run, selector: str | None) -> None:
        self._run, self._selector = run, selector
        self._by = selector if selector in Line.__struct_fields__ else "selector"
        own = [("selector", msgspec.Raw, msgspec.field(default=_ABSENT, name=selector or "selector"))]
        line = msgspec.defstruct("SelectedLine", own, bases=(Line,), gc=False) if self._by == "selector" else Line
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(line)
        self._cells: defaultdict[Cell, _Columns] = defaultdict(_Columns)
        self._session: tuple[str, _Columns] | None = None  # of the last row
        self._padding = 0

    def read(self, path: Path, advance: Callable[[int], object]) -> None:
        """Read all files; ValueError if none of their lines can be used."""
        for number, file in enumerate(self._run.files):
            self._read(file, number * _FILE_SIZE, advance)
        self._run.cells = {cell: columns.samples() for cell, columns in self._cells.items()}
        if self._padding:
            self._run.left_out.append(f"{self._run.name}: {self._padding} padding rows of verl's trainer left out")
        if not self._cells:
            expected = "expected JSON lines with `score` and one of `prompt_id`, `input`, `prompt` and `uid`"
            raise ValueError("\n".join([f"{path} has no samples: {expected}", *self._run.left_out]))
        if self._selector and all(np.isnan(samples.selector).all() for samples in self._run.cells.values()):
            raise ValueError(
                f"--select-by {self._selector} needs a column with numbers: {path} has none of that name, but it has "
                f"{', '.join(_numeric_columns(self._run))}; for majority votes use `--select-by {VOTE}`"
            )

    def _read(self, file: Path, place: int, advance: Callable[[int], object]) -> None:
        malformed, step, number = [], _step_of(file), 0
        self._session = None
        with file.open("rb") as lines:
            for number, text in enumerate(lines, start=1):
                advance(len(text))
                if not text.isspace():
                    try:
                        text.decode()  # in skipped fields, the decoder would accept any bytes
                        self._add(_decode(self._decoder, text), step, place, text)
                    except (ValueError, RecursionError) as error:
                        if text.endswith(b"\n") or isinstance(error, msgspec.ValidationError):
                            malformed.append(f"line {number}: {error}")
                        else:
                            stopped = "ends in mid-line: the run was probably stopped while writing"
                            self._run.left_out.append(f"{file} {stopped}; {number - 1} lines read")
                place += len(text)
        if malformed:
            shown = "; ".join(malformed[:_SHOWN_LINES]) + ("; ..." if len(malformed) > _SHOWN_LINES else "")
            self._run.left_out.append(f"{file}: {len(malformed)} malformed lines left out ({shown})")

    def _add(self, line: Any, step_of_file: int | None, place: int, text: bytes) -> None:
        if line.score is None or not math.isfinite(line.score):
            raise ValueError("no finite number in `score`")
        row = _ROW_OF_SESSION.fullmatch(line.uid) if isinstance(line.uid, str) else None
        if row and row[1].startswith("pad"):
            self._padding += 1
            return
        session = f"{row[1]}_{row[2]}" if row else None
        values = (
            line.score,
            math.nan if line.acc is None else line.acc,
            _hash_of_answer(line),
            _number(getattr(line, self._by, None)),
            _status(line),
            hash(session or text) if session or len(bytes(line.output)) > 2 else place,
        )
        if row and int(row[3]) > 0:  # a later row of a session replaces the values of the earlier one
            if self._session is None or self._session[0] != session:
                raise ValueError(
                    "a later row of a session does not follow its first: keep the rows in the order that verl writes"
                )
            self._session[1].replace_last(values, place)
            return
        identity = _identity(line, row[1] if row else line.uid)
        columns = self._cells[line.data_source or "all", step_of_file if line.step is None else line.step]
        columns.add(*identity, values, place)
        columns.without_answer += not (bytes(line.answer) or bytes(line.pred))
        columns.named = columns.named and session is not None
        self._session = (session, columns) if session else None


class _Columns:
    """Collects the samples of one data source and step."""

    def __init__(self) -> None:
        self.without_answer, self.named = 0, True
        self._numbers: dict[bytes, int] = {}  # of prompts
        self._texts: list[tuple[bytes, bytes]] = []  # digests of each prompt: of its text, and with its gold answer
        self._values: tuple[array[Any], ...] = tuple(array(kind) for kind in "ddqdbq")
        self._labels, self._place, self._last_place = array("q"), array("q"), dict[int, int]()

    def add(self, prompt: bytes, text: bytes, with_gold: bytes, values: tuple[float, ...], place: int) -> None:
        number = self._numbers.setdefault(prompt, len(self._numbers))
        if number == len(self._texts):
            self._texts.append((text, with_gold))
        for column, value in zip(self._values, values, strict=True):
            column.append(value)
        self._labels.append(number)
        self._place.append(place)

    def replace_last(self, values: tuple[float, ...], place: int) -> None:
        for column, value in zip(self._values, values, strict=True):
            column[-1] = value
        self._last_place[len(self._place) - 1] = place

    def samples(self) -> Samples:
        keys, alike = self._keys()
        score, acc, answer, selector, status, line = (np.array(column) for column in self._values)
        labels, place = np.array(self._labels), np.array(self._place)
        columns = (labels, score, acc, answer, selector, status, line, place)
        return Samples(keys, *columns, self._last_place, self.without_answer, alike, self.named)

    def _keys(self) -> tuple[dict[bytes, int], int]:
        """Return a key for each prompt, and how many prompts have the same text and gold answer as another.

        The key is a digest of the text. Prompts that share the text get a digest of text and gold answer, and prompts
        that share both are told apart by their order in the file.
        """
        shared = Counter(text for text, _ in self._texts)
        keys: dict[bytes, int] = {}
        same: Counter[bytes] = Counter()
        for number, (text, with_gold) in enumerate(self._texts):
            key = text if shared[text] == 1 else with_gold
            same[key] += 1
            keys[key if same[key] == 1 else _digest(key, str(same[key]).encode())] = number
        return keys, sum(count for count in same.values() if count > 1)


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"\0".join(parts), digest_size=16).digest()


def _identity(line: Line, uid: str | int | None) -> tuple[bytes, bytes, bytes]:
    """Return what identifies a prompt in its file, a digest of its text, and one of text and gold answer."""
    names = [name for name in (line.prompt_id, line.input, line.prompt, uid) if name is not None]
    if not names:
        raise ValueError("none of `prompt_id`, `input`, `prompt` and `uid`")
    text = _digest(str(names[0]).encode(errors="surrogatepass"))
    if line.prompt_id is not None:
        return text, text, text
    with_gold = _digest(text, bytes(line.gts))
    return (with_gold if uid is None else str(uid).encode(errors="surrogatepass")), text, with_gold


def _hash_of_answer(line: Line) -> int:
    """Hash an answer as it is written, so the number 42 equals the text "42"; return 0 for no answer."""
    raw = bytes(line.answer) or bytes(line.pred) or b"null"
    answer = msgspec.json.decode(raw).encode(errors="surrogatepass") if raw.startswith(b'"') else raw
    return 0 if raw == b"null" or not answer.strip() else hash(answer) or 1


def _number(value: object) -> float:
    """Return the value as a float, or NaN if it is not a finite number."""
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(bytes(value) or b"null")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _status(line: Line) -> int:
    status = bytes(line.status)[1:-1].decode()
    if status in STATUSES:
        return STATUSES.index(status)
    return STATUSES.index("unscored") if _number(line.unscored) == 1 else -1


def _numeric_columns(run: Run) -> list[str]:
    """Return the columns that have a number in the first sample."""
    place = int(next(iter(run.cells.values())).place[0])
    row = _decode(msgspec.json.Decoder(dict[str, Any]), run.line(place))
    return [name for name, value in row.items() if not math.isnan(_number(value))]
