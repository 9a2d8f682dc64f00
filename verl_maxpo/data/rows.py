"""A problem, and the row that verl reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from verl_maxpo.data.normalise import problem_id

#: The columns of verl's ``RLHFDataset``, the same for all data sets. ``extra_info`` holds the split, the row in the
#: source's split (from 0), the :func:`~verl_maxpo.data.normalise.problem_id`, the problem without the instruction, and,
#: for reasoning-gym only, the task and its entry.
SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "ability": pa.string(),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "extra_info": pa.struct(
            {
                "split": pa.string(),
                "index": pa.int64(),
                "problem_id": pa.string(),
                "question": pa.string(),
                "task": pa.string(),
                "entry": pa.string(),
            }
        ),
    }
)


class DataError(Exception):
    """What stops a preparation; the message is for the user: what was expected, what came and how to fix it."""


class RequestError(DataError):
    """What was asked for cannot be: an unknown name, a file that is not there, options that do not go together."""


@dataclass(frozen=True)
class Problem:
    """One problem of a data set.

    Attributes:
        question: The problem's text, without an instruction.
        ground_truth: What the verifier compares with.
        task: The reasoning-gym task.
        entry: The reasoning-gym entry, as :func:`~verl_maxpo.rewards.verifiers.reasoning_gym.entry_to_text` writes it.
    """

    question: str
    ground_truth: str
    task: str | None = None
    entry: str | None = None


def build_row(
    problem: Problem, *, data_source: str, prompt: str, ability: str, split: str, index: int
) -> dict[str, Any]:
    """Return the row of :data:`SCHEMA` for a problem, the ``index``-th of the source's split, from 0."""
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt}],
        "ability": ability,
        "reward_model": {"style": "rule", "ground_truth": problem.ground_truth},
        "extra_info": {
            "split": split,
            "index": index,
            "problem_id": problem_id(problem.question),
            "question": problem.question,
            "task": problem.task,
            "entry": problem.entry,
        },
    }
