"""examples/pytorch/tasks.py and its Policy: rewards by independent checks, and a prompt that is read once for all."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.quickstart import prepare
from support.reproduction import tasks, train, warm_up

from verl_maxpo.data.sources import SOURCES


def cells_reached(maze: Any) -> set[tuple[int, int]]:
    """Return the open cells that can be reached from the start."""
    reached, waiting = {(1, 1)}, [(1, 1)]
    while waiting:
        row, column = waiting.pop()
        for there in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if maze.rows[there[0]][there[1]] == "." and there not in reached:
                reached.add(there)
                waiting.append(there)
    return reached


@pytest.mark.parametrize("size", [5, 9, 17])
def test_mazes_are_perfect(size: int) -> None:
    maze = tasks.draw_maze(size, random.Random(size))
    cells = ((size - 1) // 2) ** 2
    opened = {(r, c) for r, row in enumerate(maze.rows) for c, cell in enumerate(row) if cell == "."}
    assert cells_reached(maze) == opened
    assert len(opened) == 2 * cells - 1  # a tree: one wall less than cells has fallen
    assert {(1, 1), maze.goal} <= opened
    assert not any(0 in cell or size - 1 in cell for cell in opened)


SMALL = tasks.Maze(("#####", "#...#", "###.#", "#...#", "#####"))


def test_the_prompt_is_the_drawing() -> None:
    assert SMALL.prompt == "#####\n#S..#\n###.#\n#..G#\n#####\n>"
    assert SMALL.solution == "RRDD!"


@pytest.mark.parametrize(
    ("answer", "right"),
    [("RRDD!", 1), ("RRDD", 1), ("RLRRDD!", 1), ("RRDD!U", 1), ("RRDDL!", 0), ("RR!DD", 0), ("DRR!", 0), ("LRRRDD", 0),
     ("", 0), ("!", 0), ("R#", 0), ("UUUU", 0), ("rrdd", 0), ("R RDD!", 0)],
)  # fmt: skip
def test_a_path_counts_if_it_ends_at_the_goal(answer: str, right: float) -> None:
    assert tasks.walk(SMALL, answer) == right


@given(seed=st.integers(0, 10**6), moves=st.text("UDLR!", max_size=12))
def test_walks_agree_with_complex_numbers(seed: int, moves: str) -> None:
    maze = tasks.draw_maze(5, random.Random(seed))
    assert tasks.walk(maze, maze.solution) == 1
    steps = {"U": -1, "D": 1, "L": -1j, "R": 1j}
    before = [steps[move] for move in moves.partition("!")[0]]
    path = [1 + 1j + sum(before[:i]) for i in range(len(before) + 1)]
    is_open = [maze.rows[int(at.real)][int(at.imag)] == "." for at in path if 0 <= at.real < 5 and 0 <= at.imag < 5]
    first_wall = is_open.index(False) if False in is_open else len(path)
    assert tasks.walk(maze, moves) == float(first_wall == len(path) and path[-1] == complex(*maze.goal))


def test_training_mazes_are_not_held_out() -> None:
    task = tasks.maze(5, 3)  # of the four mazes of that size
    held_out = {question[0] for question in task.held_out}
    assert len(held_out) == 3
    assert set(task.draw(random.Random(0), 0, 50)).isdisjoint(held_out)
    assert all(len(question[0].solution) < task.length for question in task.held_out)


@pytest.mark.parametrize(("size", "held_out", "fault"), [(8, 3, "--size must be odd"), (5, 4, "--held-out 4")])
def test_mazes_that_cannot_be_are_refused(size: int, held_out: int, fault: str) -> None:
    with pytest.raises(SystemExit, match=fault):
        tasks.maze(size, held_out)


def test_a_fixed_set_is_gone_through_in_epochs() -> None:
    draw = tasks.epochs(list("abcdef"), seed=0)
    steps = [draw(random.Random(step), step, 4) for step in range(6)]
    assert steps == [draw(random.Random(0), step, 4) for step in range(6)]  # whatever was drawn before
    seen = [one for step in steps for one in step]
    assert [set(seen[i : i + 6]) for i in (0, 6, 12, 18)] == [set("abcdef")] * 4
    assert seen[:6] != seen[6:12]


def test_numbers_are_scored_by_arithmetic() -> None:
    task = tasks.numbers(train=6, held_out=4, seed=0)
    problems = [*task.draw(random.Random(), 0, 6), *(question[0] for question in task.held_out)]
    assert len({problem.prompt for problem in problems}) == 10
    for problem in problems:
        target = int(problem.prompt.split()[1])
        assert eval(problem.solution) == target
        assert task.reward(problem, problem.solution) == task.reward(problem, f" {problem.solution}") == 1
        assert [
            task.reward(problem, text) for text in (f"{problem.solution}+0", str(target), "", "1+", "<answer>")
        ] == [0] * 5
        assert isinstance(task.reward(problem, problem.solution), float)  # rewards have a mean


def test_gsm8k_is_read_from_its_own_files(tmp_path: Path) -> None:
    rows = [{"question": f"{i} and 1?", "answer": f"It is <<{i}+1={i + 1}>>{i + 1}.\n#### {i + 1}"} for i in range(9)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = tasks.gsm8k(tmp_path, train=5, held_out=3, seed=0)
    assert len({problem.prompt for problem in task.draw(random.Random(), 0, 5)}) == 5
    assert len(task.held_out) == 3
    problem = task.held_out[0][0]
    gold = int(problem.prompt.split()[0]) + 1
    assert problem.prompt == SOURCES["gsm8k"].prompt(f"{gold - 1} and 1?")
    assert problem.solution == f"It is {gold}.\n#### {gold}"
    answers = (problem.solution, f"so #### {gold}", str(gold), f"#### {gold + 1}", "")
    assert [task.reward(problem, text) for text in answers] == [1, 1, 0, 0, 0]
    assert isinstance(task.reward(problem, problem.solution), float)  # rewards have a mean


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> train.Policy:
    """A small model in float64 with random weights that distinguish every token."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = prepare.make_tokenizer()
    prepare.make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    policy = train.Policy(str(folder), "cpu")
    policy.model.double()
    return policy


class Text:
    """A prompt of any length."""

    def __init__(self, prompt: str) -> None:
        self.prompt = self.solution = prompt


def test_reading_a_prompt_once_is_the_plain_forward_pass(policy: train.Policy) -> None:
    texts = ["1234:56=", "9:", "4889:2"]
    owners = torch.tensor([0, 0, 1, 2, 2])
    responses = torch.randint(4, 19, (5, 6), generator=torch.Generator().manual_seed(0))

    def plain() -> torch.Tensor:
        found = []
        for owner, response in zip(owners.tolist(), responses, strict=True):
            prompt = policy.tokenizer(texts[owner], return_tensors="pt").input_ids
            logits = policy.model(torch.cat([prompt, response[None]], dim=1)).logits[0, prompt.shape[1] - 1 : -1] / 1.3
            found.append(logits.log_softmax(-1).gather(-1, response[:, None])[:, 0])
        return torch.stack(found)

    def shared() -> torch.Tensor:
        prompts = policy.encode([Text(text) for text in texts])
        assert prompts.mask.sum(dim=1).tolist() == [8, 2, 6]
        return policy.log_probs(prompts, owners, responses, 1.3)[0]

    weights = torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients, values = [], []
    for read in (plain, shared):
        policy.model.zero_grad()
        values.append(read())
        (values[-1] * weights).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in policy.model.parameters()])
    torch.testing.assert_close(*values, rtol=0, atol=1e-12)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=3e-6)  # transformers' RMSNorm is in float32


def test_a_model_for_another_task_is_refused(policy: train.Policy) -> None:
    policy.check(Text("4889:21="))
    with pytest.raises(SystemExit, match=r"reads '#\.#' as .*not for this --task"):
        policy.check(Text("#.#"))


def test_a_warm_start_teaches_mazes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--size 5 --held-out 2 --batches 200 --problems 4 --hidden 32 --layers 1 --lr 1e-2"
    monkeypatch.setattr(sys, "argv", ["warm_up.py", "--out", str(tmp_path), *options.split()])
    warm_up.main()
    policy = train.Policy(str(tmp_path), "cpu")
    task = tasks.maze(5, 2)
    known = task.draw(random.Random(0), 0, 8)
    answers = policy.decode(policy.sample(policy.encode(known), 4, 10, 1.0, torch.Generator().manual_seed(0)))
    assert sum(task.reward(known[i // 4], text or "") for i, text in enumerate(answers)) > 16


def test_the_shipped_start_of_mazes_knows_the_task() -> None:
    policy, task = train.Policy(str(prepare.START / "maze-9-seed0"), "cpu"), tasks.maze(9, 8)
    asked = [question[0] for question in task.held_out]
    policy.check(asked[0])
    texts = policy.decode(policy.sample(policy.encode(asked), 8, task.length, 1.0, torch.Generator().manual_seed(0)))
    assert 0 < sum(task.reward(asked[i // 8], text or "") for i, text in enumerate(texts)) < 32
