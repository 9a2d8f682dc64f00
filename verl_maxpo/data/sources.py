r"""The data sets: where they are, what their columns are called, and how a row becomes a problem.

Ids, configurations, splits and columns are those of the data sets' cards on the Hugging Face hub; data sources and the
instructions of GSM8K and MATH are those of verl's ``examples/data_preprocess``. All mathematics but GSM8K asks for a
``\boxed{}`` answer, so that training and evaluation agree; the instruction of DAPO-Math-17k, which asks for a last line
``Answer: ...``, is removed from its problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verl_maxpo.data.rows import OWN_FIELDS, Example, RequestError
from verl_maxpo.rewards.verifiers import extraction

_GSM8K_SUFFIX = 'Let\'s think step by step and output the final answer after "####".'
_BOXED_SUFFIX = r"Let's think step by step and output the final answer within \boxed{}."

_GSM8K_ANSWER = re.compile(r"####\s*\$?(-?[\d,]*\.?\d+)\.?\s*$")
_DAPO_PROMPT = re.compile(
    r"\s*Solve the following math problem step by step\. The last line of your response should be of the form "
    r"Answer: \$Answer \(without quotes\) where \$Answer is the answer to the problem\.\s*(.*?)\s*"
    r'Remember to put your answer on its own line after "Answer:"\.\s*',
    re.DOTALL,
)


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        name: What the command line calls it.
        data_source: verl's column of that name.
        columns: What a row must have.
        parse: Row to problem; raises ValueError with the reason if the row is malformed.
        suffix: What follows the question in the prompt.
        separator: What stands between the two.
        ability: verl's column of that name.
        hub: The id on the Hugging Face hub; empty if the data set is generated.
        config: Its configuration there, if not the default one.
        splits: The files to write, each with the split that it comes from.
        answer_format: How its column holds the answer, for data sets that are described by their columns.
    """

    name: str
    data_source: str
    columns: tuple[str, ...]
    parse: Callable[[Mapping[str, Any]], Example]
    suffix: str
    splits: Mapping[str, str]
    hub: str = ""
    config: str | None = None
    separator: str = " "
    ability: str = "math"
    answer_format: str | None = None

    def prompt(self, question: str) -> str:
        """Return the question and the suffix; an empty suffix leaves the question alone."""
        return f"{question}{self.separator}{self.suffix}" if self.suffix else question


def boxed_answer(solution: str) -> str:
    r"""Return the content of the last ``\boxed{...}`` or ``\fbox{...}`` of a solution, read as the verifiers read it.

    Boxes joined by "and" or a comma are one answer, and ``\boxed 2``, which some solutions of MATH have, is 2.

    Raises:
        ValueError: There is none, it is empty or its brace is never closed.

    >>> boxed_answer(r"First $\boxed{1}$, then $\boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    last = max(solution.rfind(r"\boxed"), solution.rfind(r"\fbox"))
    if last < 0:
        raise ValueError(r"the solution has no \boxed{...}")
    if extraction.last_boxed(solution[last:]) is None:
        raise ValueError(r"the solution's last \boxed is empty, or its brace is never closed")
    content = (extraction.last_boxed(solution) or "").strip()
    if not content:
        raise ValueError(r"the solution's last \boxed is empty")
    return content


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{column} must be a text that is not empty, got {value!r:.60}")
    return value


def _integer(row: Mapping[str, Any], column: str) -> str:
    """Return an integer without leading zeros and ``.0``, which some copies of the data sets have."""
    found = re.fullmatch(r"\s*(-?\d+)(\.0*)?\s*", str(row[column]))
    if not found:
        raise ValueError(f"{column} must be an integer, got {row[column]!r:.60}")
    return str(int(found[1]))


def _dapo_math(row: Mapping[str, Any]) -> Example:
    messages, reward_model = row["prompt"], row["reward_model"]
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        raise ValueError(f"prompt must be a list of one message, got {messages!r:.60}")
    if not isinstance(reward_model, dict):
        raise ValueError(f"reward_model must have a ground_truth, got {reward_model!r:.60}")
    content = _text(messages[0], "content")
    found = _DAPO_PROMPT.fullmatch(content)
    if not found:
        raise ValueError(f"prompt must have DAPO's 'Solve the following ... Answer: $Answer', got {content!r:.60}")
    return Example(_text({"prompt": found[1]}, "prompt"), _text(reward_model, "ground_truth").strip())


def _plain(row: Mapping[str, Any], column: str) -> str:
    """Return a text or a number as text, a whole number without ``.0``."""
    value = row[column]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return _text(row, column).strip()


def _hash_answer(row: Mapping[str, Any], column: str) -> str:
    """Return the number after GSM8K's last ``####``."""
    answer = _text(row, column)
    found = _GSM8K_ANSWER.search(answer)
    if not found:
        raise ValueError(f"{column} must end with #### and a number, got ...{answer[-40:]!r}")
    return found[1].replace(",", "")


#: How an answer can stand in its column, for :func:`column_source`.
ANSWER_FORMATS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "plain": _plain,
    "integer": _integer,
    "boxed": lambda row, column: boxed_answer(_text(row, column)),
    "####": _hash_answer,
}


def column_source(
    name: str,
    *,
    question: str,
    answer: str,
    answer_format: str = "plain",
    keep: Sequence[str] | None = (),
    suffix: str = _BOXED_SUFFIX,
    **fields: Any,
) -> Source:
    r"""Describe a data set by the names of its columns.

    Args:
        name: What it is called, its data source too unless ``fields`` has another.
        question: The column of the problem.
        answer: The column of the answer.
        answer_format: How the answer stands there, one of :data:`ANSWER_FORMATS`: alone, as an integer, in the last
            ``\boxed{}``, or as a number after ``####``.
        keep: Columns that go into ``extra_info``; None for all others, except those that would hide
            :data:`~.rows.OWN_FIELDS`.
        suffix: What follows the question in the prompt.
        fields: Of :class:`Source`.

    Raises:
        RequestError: A column to keep would hide one of the fields that ``extra_info`` always has.
    """
    find = ANSWER_FORMATS[answer_format]
    if hidden := set(keep or ()) & set(OWN_FIELDS):
        raise RequestError(f"extra_info has fields {', '.join(OWN_FIELDS)} of its own: rename {', '.join(hidden)}")

    def parse(row: Mapping[str, Any]) -> Example:
        others = [column for column in row if column not in (question, answer, *OWN_FIELDS)] if keep is None else keep
        return Example(_text(row, question), find(row, answer), {column: row[column] for column in others})

    columns = (question, answer, *(keep or ()))
    defaults = {"data_source": name, "columns": columns, "parse": parse, "answer_format": answer_format}
    return Source(name=name, suffix=suffix, **{**defaults, **fields})


def _competition(name: str, hub: str, *, split: str = "test", question: str = "problem") -> Source:
    """Describe a competition, whose answers are integers and whose verifier is found by its name."""
    columns = {"question": question, "answer": "answer", "answer_format": "integer"}
    return column_source(name, hub=hub, splits={"test": split}, **columns)


_TRAIN_AND_TEST = {"train": "train", "test": "test"}

_SOURCES = (
    column_source(
        "gsm8k",
        data_source="openai/gsm8k",
        hub="openai/gsm8k",
        config="main",
        splits=_TRAIN_AND_TEST,
        question="question",
        answer="answer",
        answer_format="####",
        suffix=_GSM8K_SUFFIX,
    ),
    column_source(
        "math",
        data_source="DigitalLearningGmbH/MATH-lighteval",
        hub="DigitalLearningGmbH/MATH-lighteval",
        splits=_TRAIN_AND_TEST,
        question="problem",
        answer="solution",
        answer_format="boxed",
    ),
    Source(
        name="dapo_math",
        data_source="math_dapo",
        columns=("prompt", "reward_model"),
        parse=_dapo_math,
        suffix=_BOXED_SUFFIX,
        splits={"train": "train"},
        hub="BytedTsinghua-SIA/DAPO-Math-17k",
    ),
    _competition("aime24", "HuggingFaceH4/aime_2024", split="train"),
    _competition("aime25", "math-ai/aime25"),
    _competition("amc23", "math-ai/amc23", question="question"),
    column_source(
        "math500",
        data_source="HuggingFaceH4/MATH-500",
        hub="HuggingFaceH4/MATH-500",
        splits={"test": "test"},
        question="problem",
        answer="answer",
    ),
)

#: The data sets of the hub by name.
SOURCES = {source.name: source for source in _SOURCES}
