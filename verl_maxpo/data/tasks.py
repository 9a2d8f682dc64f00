"""The tasks of reasoning-gym (https://github.com/open-thought/reasoning-gym), which are generated, not downloaded.

A seed gives the same rows every time. Five tasks of version 0.1.25 draw from Python's sets and need ``PYTHONHASHSEED``
as well: isomorphic_strings, knight_swap, polynomial_multiplication, ransom_note and word_ladder.
"""

from __future__ import annotations

import dataclasses
import difflib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm
from yaml import YAMLError

from verl_maxpo.data.reading import Reader, Row
from verl_maxpo.data.rows import Example, RequestError
from verl_maxpo.data.sources import Source

_SUFFIX = "Think step by step, then give the final answer within <answer> </answer> tags."

# reasoning-gym draws row i of a set from the random numbers of seed + i: sets of neighbouring seeds overlap. This is
# larger than any set and leaves room below 2^32, NumPy's largest seed.
_TEST_SEED_OFFSET = 1_000_000_000


def task_source(task: str) -> Source:
    """Return the data set of a task.

    Its ``extra_info`` has the task and the entry, which the task's own scorer needs. If a task has no single right
    answer, the ground truth is empty.

    Raises:
        RequestError: reasoning-gym has no such task.
    """
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        near = difflib.get_close_matches(task, DATASETS) or sorted(DATASETS)
        raise RequestError(f"reasoning-gym has no task {task!r}; near it are: {', '.join(near)}")
    return Source(
        name=f"reasoning_gym:{task}",
        data_source=f"reasoning_gym/{task}",
        columns=("question", "answer", "metadata"),
        parse=lambda entry: _example(task, entry),
        suffix=_SUFFIX,
        splits={"train": task, "test": task},
        separator="\n\n",
        ability="reasoning",
    )


def task_reader(task: str, sizes: Mapping[str, int], seed: int, config: Mapping[str, Any]) -> Reader:
    """Return a reader that generates a task's rows, ``sizes[split]`` of each split.

    The seed of the test set is larger by 10^9, so that neither size changes the other set.
    """

    def read(split: str) -> Iterator[Row]:
        first = seed + _TEST_SEED_OFFSET if split == "test" else seed
        dataset = _create(task, config, size=sizes[split], seed=first)
        for i in tqdm(range(sizes[split]), f"{task}/{split}", disable=None):
            random.seed(first + i)  # list_functions draws from the global generator
            yield Row(f"row {i}", i, dataset[i])

    return read


def task_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` arguments, the values as YAML.

    >>> task_config(["max_terms=4", 'operators=["+", "-"]', "style=plain"])
    {'max_terms': 4, 'operators': ['+', '-'], 'style': 'plain'}

    Raises:
        RequestError: An argument cannot be read.
    """
    try:
        config: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments)))
    except (YAMLError, OmegaConfBaseException) as error:
        raise RequestError(f"--task-config takes KEY=VALUE, got {' '.join(arguments)}: {error}") from None
    return dict(config)


def _create(task: str, config: Mapping[str, Any], *, size: int, seed: int) -> Any:
    from reasoning_gym import create_dataset
    from reasoning_gym.factory import DATASETS

    known = {field.name for field in dataclasses.fields(DATASETS[task][1])} - {"size", "seed"}
    if unknown := sorted(set(config) - known):
        raise RequestError(
            f"{task} has no option {', '.join(unknown)}; --task-config takes: {', '.join(sorted(known)) or 'none'}"
        )
    try:
        return create_dataset(task, size=size, seed=seed, **config)
    except Exception as error:
        raise RequestError(f"{task} does not accept {dict(config)}: {type(error).__name__}: {error}") from error


def _example(task: str, entry: Mapping[str, Any]) -> Example:
    from verl_maxpo.data.entries import entry_to_text

    answer = "" if entry["answer"] is None else str(entry["answer"])
    return Example(entry["question"], answer, {"task": task, "entry": entry_to_text(dict(entry))})
