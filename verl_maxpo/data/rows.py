"""An example, and the row that verl reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from verl_maxpo.data.normalise import problem_id

#: The columns of verl's ``RLHFDataset``, the same for all data sets of this package, so that verl can concatenate them.
#: ``extra_info`` holds the split, the row in the source's split (from 0), the question alone and its
#: :func:`~verl_maxpo.data.normalise.problem_id`, and, for reasoning-gym only, the task and its entry.
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

#: What ``extra_info`` has for every data set.
OWN_FIELDS = ("split", "index", "problem_id", "question")


class DataError(Exception):
    """Stops a preparation. The message tells the user what was expected, what came and how to fix it."""


class RequestError(DataError):
    """The request cannot be met: an unknown name, a missing file, options that contradict each other."""


@dataclass(frozen=True)
class Example:
    """One problem of a data set.

    Attributes:
        question: Its text, without an instruction.
        ground_truth: What the verifier compares with.
        extra: More fields of ``extra_info``.
    """

    question: str
    ground_truth: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def build_row(
    example: Example, *, data_source: str, prompt: str, ability: str, split: str, index: int
) -> dict[str, Any]:
    """Return the row of :data:`SCHEMA` for an example, the ``index``-th of the source's split, from 0."""
    own = (split, index, problem_id(example.question), example.question)
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": prompt}],
        "ability": ability,
        "reward_model": {"style": "rule", "ground_truth": example.ground_truth},
        "extra_info": {**example.extra, **dict(zip(OWN_FIELDS, own, strict=True))},
    }


def schema_of(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Return :data:`SCHEMA` with the additional fields of ``extra_info`` in these rows."""
    names = dict.fromkeys(name for row in rows for name in row["extra_info"] if name not in OWN_FIELDS)
    fields = {name: pa.array([row["extra_info"].get(name) for row in rows]).type for name in names}
    texts = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in fields.items()}
    known = {field.name: field.type for field in SCHEMA.field("extra_info").type.fields}
    index = SCHEMA.get_field_index("extra_info")
    return SCHEMA.set(index, pa.field("extra_info", pa.struct({**known, **texts})))
