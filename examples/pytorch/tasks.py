"""The tasks of train.py: what is asked, and what an answer is worth.

``countdown``, ``hidden_digit``
    Those of ../quickstart/countdown.py.
``closest``
    Countdown with a reward of 1/(1 + distance to the target) for every valid expression.
``maze``
    The maze of MaxRL (github.com/tajwarfahim/maxrl): find the way through a perfect maze, made by Prim's algorithm.
``numbers``
    Countdown of reasoning-gym with three or four numbers up to 20, in words, for a pre-trained language model.
``gsm8k``
    School mathematics, from the files train.jsonl and test.jsonl of github.com/openai/grade-school-math.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

sys.path.insert(0, str(Path(__file__).parents[1] / "quickstart"))
import countdown

MOVES = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}
DONE = "!"
MAZE_CHARACTERS = "#.SG>" + "".join(MOVES) + DONE  # and the newline


class Problem(Protocol):
    """What is asked once."""

    @property
    def prompt(self) -> str:
        """What the model is given."""

    @property
    def solution(self) -> str:
        """One of the right answers."""


@dataclass(frozen=True)
class Task:
    """What train.py trains on.

    Attributes:
        draw: Returns the problems of a step: ``draw(rng, step, count)``.
        held_out: The problems that each held-out prompt may stand for, the likeliest first.
        reward: Returns what an answer is worth, 1 if it is right.
        length: The longest response, in tokens, with its end. A longer one is cut off and worth 0.
        graded: Whether there are rewards between 0 and 1.
        likelihoods: How likely each of the problems is that a held-out prompt may stand for.
        answer: Returns what a response votes for, None if it does not vote.
        liked: Returns whether a biased judge likes a response, right or wrong. None: the task has no judge.
    """

    draw: Callable[[random.Random, int, int], Sequence[Any]]
    held_out: Sequence[Sequence[Any]]
    reward: Callable[[Any, str], float]
    length: int
    graded: bool = False
    likelihoods: Callable[[Any], list[float]] = lambda question: [1.0]
    answer: Callable[[Any, str], Hashable] = lambda problem, response: response
    liked: Callable[[str], bool] | None = None


def digits(name: str) -> Task:
    """Return one of the quickstart's tasks."""
    train, held_out = countdown.questions("hidden_digit" if name == "hidden_digit" else "countdown")

    def draw(rng: random.Random, step: int, count: int) -> list[countdown.Problem]:
        return [countdown.draw_problem(rng.choice(train), rng) for _ in range(count)]

    def value(problem: countdown.Problem, answer: str) -> int | None:
        return countdown.expressions(problem.digits).get(answer)

    def right(problem: countdown.Problem, answer: str) -> float:
        return float(value(problem, answer) == problem.target)

    def near(problem: countdown.Problem, answer: str) -> float:
        made = value(problem, answer)
        return 0.0 if made is None else 1 / (1 + abs(made - problem.target))

    reward = near if name == "closest" else right
    return Task(
        draw, held_out, reward, length=8, graded=reward is near,  # 4 digits, 3 operators, the end
        likelihoods=countdown.likelihoods, answer=value, liked=lambda response: "*" in response,
    )  # fmt: skip


class Maze(NamedTuple):
    """Rows of ``#`` for a wall and ``.`` for a path; it starts at (1, 1) and the goal is in the opposite corner."""

    rows: tuple[str, ...]

    @property
    def goal(self) -> tuple[int, int]:
        """Row and column of the goal."""
        return len(self.rows) - 2, len(self.rows) - 2

    @property
    def prompt(self) -> str:
        """The drawing, one character a cell; an answer is moves and the end of the path, ``RRDD!``."""
        cells = [list(row) for row in self.rows]
        cells[1][1], cells[self.goal[0]][self.goal[1]] = "S", "G"
        return "".join("".join(row) + "\n" for row in cells) + ">"

    @property
    def solution(self) -> str:
        """The shortest path, by breadth-first search."""
        paths = {(1, 1): ""}
        waiting = deque(paths)
        while self.goal not in paths:
            here = waiting.popleft()
            for move, (down, right) in MOVES.items():
                there = here[0] + down, here[1] + right
                if there not in paths and self.rows[there[0]][there[1]] == ".":
                    paths[there] = paths[here] + move
                    waiting.append(there)
        return paths[self.goal] + DONE


def draw_maze(size: int, rng: random.Random) -> Maze:
    """Draw a perfect maze by Prim's algorithm: any wall between the maze and a new cell may fall next."""
    grid = [["#"] * size for _ in range(size)]
    walls: list[tuple[int, int, int, int]] = []  # each with the cell behind it

    def add(row: int, column: int) -> None:
        grid[row][column] = "."
        for down, right in MOVES.values():
            cell = row + 2 * down, column + 2 * right
            if 0 < cell[0] < size - 1 and 0 < cell[1] < size - 1 and grid[cell[0]][cell[1]] == "#":
                walls.append((row + down, column + right, *cell))

    add(1, 1)
    while walls:
        index = rng.randrange(len(walls))
        walls[index], walls[-1] = walls[-1], walls[index]
        row, column, *cell = walls.pop()
        if grid[cell[0]][cell[1]] == "#":
            grid[row][column] = "."
            add(cell[0], cell[1])
    return Maze(tuple("".join(row) for row in grid))


def walk(maze: Maze, answer: str) -> float:
    """Return 1 if the moves up to the end of the path lead to the goal and into no wall."""
    row = column = 1
    for move in answer.split(DONE)[0]:
        if move not in MOVES:
            return 0.0
        row, column = row + MOVES[move][0], column + MOVES[move][1]
        if maze.rows[row][column] == "#":
            return 0.0
    return float((row, column) == maze.goal)


def maze(size: int, held_out: int) -> Task:
    """Return the task of new mazes of a size, none of which is a held-out one."""
    if size < 5 or size % 2 == 0:
        raise SystemExit(f"--size must be odd and at least 5, as walls have every other row and column; got {size}")
    rng, seen = random.Random("held out"), dict[Maze, None]()
    for _ in range(100 * held_out):
        if len(seen) <= held_out:
            seen[draw_maze(size, rng)] = None
    if len(seen) <= held_out:  # none would be left to train on
        raise SystemExit(f"--held-out {held_out}: there are too few mazes of --size {size}; ask for fewer")
    kept = dict.fromkeys(list(seen)[:held_out])

    def draw(rng: random.Random, step: int, count: int) -> list[Maze]:
        found: list[Maze] = []
        while len(found) < count:
            found += [one] if (one := draw_maze(size, rng)) not in kept else []
        return found

    # cells and the walls between them: a longer path walks in circles
    return Task(draw, [(one,) for one in kept], walk, length=(size - 1) ** 2 // 2 + 2)


def epochs(problems: Sequence[Any], seed: int) -> Callable[[random.Random, int, int], list[Any]]:
    """Return a draw that goes through the problems again and again, every time in another order."""

    def draw(rng: random.Random, step: int, count: int) -> list[Any]:
        def order(epoch: int) -> list[int]:
            return random.Random(f"{seed} {epoch}").sample(range(len(problems)), len(problems))

        places = range(step * count, (step + 1) * count)
        return [problems[order(place // len(problems))[place % len(problems)]] for place in places]

    return draw


class Asked(NamedTuple):
    """A problem in words, with what its verifier wants."""

    prompt: str
    solution: str
    truth: Any


def numbers(train: int, held_out: int, seed: int) -> Task:
    """Return Countdown in words: a fixed set of training problems, and held-out ones with other numbers or targets."""
    import reasoning_gym

    from verl_maxpo.data.entries import entry_to_text
    from verl_maxpo.rewards.verifiers.reasoning_gym import verify

    made = reasoning_gym.create_dataset(
        "countdown", size=4 * (train + held_out), seed=0, min_numbers=3, max_numbers=4,
        min_value=1, max_value=20, min_target=10, max_target=99,
    )  # fmt: skip
    problems: dict[tuple[Any, ...], Asked] = {}
    for entry in made:
        about = entry["metadata"]
        prompt = f"Make {about['target']} from {' '.join(map(str, about['numbers']))}."
        solution, truth = about["expression"].replace(" ", ""), {"task": "countdown", "entry": entry_to_text(entry)}
        problems.setdefault((about["target"], *sorted(about["numbers"])), Asked(prompt, solution, truth))
    given = list(problems.values())[: train + held_out]

    def reward(problem: Asked, answer: str) -> float:
        return float(verify(f"<answer>{answer}</answer>", None, problem.truth).correct)

    # the longest: 4 numbers of two digits, 3 operators, 2 pairs of brackets, the end
    return Task(epochs(given[held_out:], seed), [(one,) for one in given[:held_out]], reward, length=16)


def gsm8k(folder: Path, train: int, held_out: int, seed: int) -> Task:
    """Return GSM8K from its own files, or as many of its problems, with the recipe's prompt."""
    from verl_maxpo.data.sources import SOURCES
    from verl_maxpo.rewards.verifiers.gsm8k import verify

    prompt = SOURCES["gsm8k"].prompt

    def read(split: str, count: int) -> list[Asked]:
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        rows = random.Random(0).sample(rows, min(count or len(rows), len(rows)))
        return [Asked(prompt(r["question"]), re.sub("<<.*?>>", "", r["answer"]), r["answer"]) for r in rows]

    def reward(problem: Asked, answer: str) -> float:
        return float(verify(answer, problem.truth, {}).correct)

    return Task(epochs(read("train", train), seed), [(one,) for one in read("test", held_out)], reward, length=256)


def make_task(name: str, *, size: int, data: Path, train: int, held_out: int, seed: int) -> Task:
    """Return a task.

    Args:
        name: One of :data:`NAMES`.
        size: Of a maze.
        data: Folder of the files of GSM8K.
        train: How many problems to train on, where they are a fixed set; 0 for all.
        held_out: How many problems to evaluate on; those of the quickstart have always 300.
        seed: Of the order in a fixed set.
    """
    if name == "maze":
        return maze(size, held_out)
    if name == "numbers":
        return numbers(train, held_out, seed)
    return gsm8k(data, train, held_out, seed) if name == "gsm8k" else digits(name)


NAMES = ("countdown", "hidden_digit", "closest", "maze", "numbers", "gsm8k")
