"""What each k would have given on a dump."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from support import reference

from verl_maxpo import max_at_k_advantages
from verl_maxpo.best_of_k.baselines import BASELINES
from verl_maxpo.cli import main
from verl_maxpo.evaluate.choose_k import Choice, Choices, choose_k
from verl_maxpo.evaluate.dumps import read_runs

BINARY = [[0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]


def write_rollouts(folder: Path, groups: list[list[float]], step: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "uid": f"{number:032x}_{session}_0",
            "input": "the same",
            "gts": number + 100 * step,
            "score": score,
            "step": step,
        }
        for number, group in enumerate(groups)
        for session, score in enumerate(group)
    ]
    (folder / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def choices(folder: Path, ks: list[int] | None = None, ns: list[int] | None = None, **options: bool) -> Choices:
    return choose_k(read_runs([folder]), ks, ns, **options)


def choice(folder: Path, k: int, n: int | None = None) -> Choice:
    [*_, row] = choices(folder, [k], [n] if n else None).rows
    return row


def mean_square(groups: list[list[float]], k: int, baseline: str) -> float:
    rewards = torch.tensor(groups, dtype=torch.float64)
    return float(max_at_k_advantages(rewards, k, baseline=baseline).square().mean())


@pytest.mark.parametrize("k", [1, 3, 5])
def test_groups_of_0_and_1(tmp_path: Path, k: int) -> None:
    row = choice(write_rollouts(tmp_path, BINARY), k)
    signal = sum(0 < sum(group) <= 6 - k for group in BINARY) / 4
    assert (row.n, row.k, row.groups) == (6, k, 4)
    assert row.kinds["signal"] == row.nonzero == signal
    assert row.kinds["all_fail"] == row.kinds["all_equal"] == 1 / 4
    assert sum(row.kinds.values()) == pytest.approx(1)
    best = [float(reference.max_at_k(group, k)) for group in BINARY]
    assert row.max_at_k == pytest.approx(np.mean(best))
    assert row.gain == pytest.approx(np.mean(best) - np.mean(BINARY))
    assert row.mean_square == pytest.approx({name: mean_square(BINARY, k, name) for name in BASELINES})


def test_real_rewards_in_two_steps(tmp_path: Path) -> None:
    groups = np.random.default_rng(0).normal(size=(6, 5)).tolist()
    write_rollouts(tmp_path, groups[:2], step=1)
    row = choice(write_rollouts(tmp_path, groups[2:], step=2), 2)
    assert row.groups == 6
    assert row.kinds["signal"] == row.nonzero == 1
    assert row.mean_square == pytest.approx({name: mean_square(groups, 2, name) for name in BASELINES})


@pytest.mark.parametrize(("n", "k"), [(4, 1), (4, 3), (2, 1), (5, 2)])
def test_smaller_groups_are_drawn_from_larger_ones(tmp_path: Path, n: int, k: int) -> None:
    row = choice(write_rollouts(tmp_path, BINARY * 300), k, n)
    subgroups = [list(subset) for group in BINARY for subset in combinations(group, n)]
    assert (row.n, row.k, row.groups) == (n, k, 300 * len(BINARY) * (6 // n))
    assert row.kinds["signal"] == pytest.approx(np.mean([0 < sum(group) <= n - k for group in subgroups]), abs=0.04)
    assert row.kinds["all_fail"] == pytest.approx(np.mean([sum(group) == 0 for group in subgroups]), abs=0.04)
    assert sum(row.kinds.values()) == pytest.approx(1)


def test_smaller_groups_have_each_response_once(tmp_path: Path) -> None:
    groups = np.random.default_rng(0).permutation(12).reshape(2, 6).astype(float)
    row = choice(write_rollouts(tmp_path, groups.tolist()), 1, 3)
    assert (row.groups, row.max_at_k, row.nonzero) == (4, pytest.approx(groups.mean()), 1)


def test_what_is_not_shown_is_said(tmp_path: Path) -> None:
    ragged = choices(write_rollouts(tmp_path / "ragged", [[0, 1, 1, 0], [0, 1]]), [1, 4], [3, 9])
    assert [(row.n, row.k, row.groups) for row in ragged.rows] == [(4, 1, 2), (3, 1, 1)]
    assert ragged.notes == [
        "ragged, all: 1 of 2 prompts have fewer samples than the others, 2 instead of 4 at step 1: verl's dumps lack "
        "sessions that failed",
        "ragged: k=4 is not shown for n=4, as it needs k + 1 responses",
        "ragged: n=9 is not shown, as no group has that many responses",
        "ragged: k=4 is not shown for n=3, as it needs k + 1 responses",
    ]


@pytest.mark.parametrize(
    ("groups", "advice"),
    [
        # Signal: 3/4 for k up to 4, of groups of 8; k = 4 is n/2.
        ([[0] * 7 + [1]] * 3 + [[0] * 8], "up to k=4: the largest shown that is at most n/2"),
        # 1 of 2 groups has none with k = 2 already.
        (
            [[0] * 7 + [1], [0] + [1] * 7],
            "take k=1: each larger k shown is above n/2, gains nothing or loses more than 10%",
        ),
        ([[0] * 8, [1] * 8], "none of these k gives a signal"),
    ],
)
def test_a_k_is_recommended(tmp_path: Path, groups: list[list[float]], advice: str) -> None:
    [said] = choices(write_rollouts(tmp_path, groups)).advice
    assert advice in said


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = write_rollouts(tmp_path / "rollouts", BINARY)
    main(["choose-k", str(dump), "--k", "1", "5", "--n", "4", "--json", str(tmp_path / "new" / "choice.json")])
    shown = capsys.readouterr()
    assert "rollouts: groups with signal" in shown.out
    assert "warning: rollouts: k=5 is not shown for n=4" in shown.err
    rows = json.loads((tmp_path / "new" / "choice.json").read_text())["rows"]
    assert [(row["n"], row["k"]) for row in rows] == [(6, 1), (6, 5), (4, 1)]
    assert rows[1]["kinds"]["too_many_successes"] == 0.25


def test_of_several_models_on_the_same_prompts_the_last_is_shown(tmp_path: Path) -> None:
    """Validations of a run, not the batches of its training."""
    for step, right in [(0, 1), (20, 2), (40, 3)]:
        rows = [
            {"input": str(i), "uid": f"{step}{i:031}_{j}_0", "score": j < right} for i in range(3) for j in range(4)
        ]
        (tmp_path / f"{step}.jsonl").write_text("".join(json.dumps(row | {"step": step}) + "\n" for row in rows))
    last, together = choices(tmp_path, [1]), choices(tmp_path, [1], all_steps=True)
    assert [(row.groups, row.max_at_k) for row in last.rows] == [(3, 0.75)]
    assert [(row.groups, row.max_at_k) for row in together.rows] == [(9, 0.5)]
    assert last.notes == [
        f"{tmp_path.name}: step 40 is shown, not 0, 20, because the steps have the same prompts; --all-steps combines "
        "them"
    ]
    assert together.notes == []


@pytest.mark.parametrize("options", [[], ["--k", "1"], ["--n", "1"], ["--k", "4", "--n", "2"]])
def test_nothing_to_show_has_a_reason(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    single = write_rollouts(tmp_path / "single", [[0.0], [1.0]])
    assert main(["choose-k", str(single), *options]) == 2
    error = capsys.readouterr().err
    assert "nothing is left to show:\n" in error
    assert "single: every prompt has one response, but a group needs at least two" in error


@pytest.mark.parametrize("columns", ["40", "80", "170"])
def test_every_number_is_whole_at_any_width(
    tmp_path: Path, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    dump = write_rollouts(tmp_path / "rollouts", [[0] * (16 - c) + [1] * c for c in range(17)])
    assert main(["choose-k", str(dump), "--n", "4", "8"]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    tables = shown.split("mean square")
    for n in (16, 8, 4):
        for table in tables:
            [row] = [line for line in table.splitlines() if line.lstrip().startswith(f"{n}, 2 ")]
            assert all(re.fullmatch(r"-?\d*\.\d{3}|\d+,?", cell) for cell in row.split())
