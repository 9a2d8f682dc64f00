"""The metrics of a training step against their definitions, group by group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from verl.trainer.ppo.v1.utils import MetricsAggregator

from verl_maxpo import grouped_max_at_k_advantages, maj_at_k, max_at_k, selected_at_k
from verl_maxpo.best_of_k.advantages import advantages_of
from verl_maxpo.best_of_k.baselines import BASELINES
from verl_maxpo.best_of_k.groups import answer_labels, group_labels, ranked_groups
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer.metrics import k_metrics, training_metrics

# Ragged groups, interleaved: a and b have 6 members, c 4, d 2.
LAYOUT = "abcabdcabcabcabdab"
REWARDS = torch.randn(len(LAYOUT), generator=torch.Generator().manual_seed(5)).round(decimals=1)


def metrics_of(rewards: Tensor, layout: str, objective: Objective) -> dict[str, float]:
    labels = group_labels(layout, rewards.device)
    batches = ranked_groups(rewards, labels)
    return {
        **training_metrics(batches, advantages_of(batches, rewards, objective), objective),
        **k_metrics(objective, int(labels.bincount().max())),
    }


def group(name: str) -> Tensor:
    return REWARDS[torch.tensor([other == name for other in LAYOUT])]


def test_rewards_at_k_are_means_over_the_groups_that_are_large_enough() -> None:
    metrics = metrics_of(REWARDS, LAYOUT, Objective.of(3))
    for k, groups in {1: "abcd", 2: "abcd", 3: "abc", 4: "abc"}.items():
        expected = sum(max_at_k(group(name).double(), k).item() for name in groups) / len(groups)
        assert metrics.pop(f"best_of_k/reward@{k}") == pytest.approx(expected, rel=1e-6)
    assert not [name for name in metrics if "reward@" in name]  # 8 is more than any group has


def test_reward_at_a_power_of_two_and_at_every_chosen_k() -> None:
    metrics = metrics_of(torch.arange(16.0), "a" * 16, Objective.of([3, 16], weights=[1.0, 0.0], baseline="none"))
    assert [name for name in metrics if "reward@" in name] == [f"best_of_k/reward@{k}" for k in (1, 2, 3, 4, 8, 16)]
    assert metrics["best_of_k/reward@16"] == 15
    assert metrics["best_of_k/reward@1"] == 7.5


KINDS = {
    "all_fail": [[0, 0, 0, 0], [-1, -1, -1, -1]],
    "all_equal": [[1, 1, 1, 1], [0.25, 0.25, 0.25, 0.25]],
    "too_many_successes": [[1, 1, 1, 0], [0.5, 2, 2, 2], [-1, -1, -1, -3]],
    "undersized": [[1, 0], [0, 0], [1, 1]],
    "signal": [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0.5, -1], [-1, -1, -2, -3]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_groups_for_k_of_2(kind: str) -> None:
    for rewards in KINDS[kind]:
        layout = "a" * len(rewards) + "bbbb"  # b has a signal
        metrics = metrics_of(torch.tensor([*rewards, 0, 0, 0, 1]).float(), layout, Objective.of(2))
        shares = {name: metrics[f"best_of_k/groups/{name}"] for name in KINDS}
        expected = dict.fromkeys(KINDS, 0.0)
        expected[kind] += 0.5
        expected["signal"] += 0.5
        assert shares == expected


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_signal_is_what_a_positive_l2o_advantage_shows(k: int) -> None:
    rewards = (torch.rand(400, 8, generator=torch.Generator().manual_seed(k)) < 0.4).float()
    layout = "".join(chr(row // 8 + 200) for row in range(3200))
    shares = metrics_of(rewards.flatten(), layout, Objective.of(k))
    c = rewards.sum(dim=-1)
    assert shares["best_of_k/groups/signal"] == pytest.approx(((c > 0) & (c <= 8 - k)).float().mean().item())
    too_many = ((c > 8 - k) & (c < 8)).float().mean().item()
    assert shares["best_of_k/groups/too_many_successes"] == pytest.approx(too_many)


def test_of_several_k_the_smallest_that_has_weight_gives_signal() -> None:
    rewards = torch.tensor([1.0, 1.0, 1.0, 0.0])
    with_signal = metrics_of(rewards, "aaaa", Objective.of([1, 3], weights=[0.1, 0.9]))
    assert with_signal["best_of_k/groups/signal"] == 1
    without = metrics_of(rewards, "aaaa", Objective.of([1, 3], weights=[0.0, 1.0]))
    assert without["best_of_k/groups/too_many_successes"] == 1


def test_all_loses_only_groups_of_equal_rewards() -> None:
    metrics = metrics_of(torch.tensor([1.0, 1, 1, 0, 1, 1, 0, 0]), "aaaabbcc", Objective.of("all"))
    assert metrics["best_of_k/groups/signal"] == pytest.approx(1 / 3)
    assert metrics["best_of_k/groups/all_equal"] == pytest.approx(1 / 3)
    assert metrics["best_of_k/groups/all_fail"] == pytest.approx(1 / 3)
    assert [name for name in metrics if "reward@" in name] == [f"best_of_k/reward@{k}" for k in (1, 2, 4)]


@pytest.mark.parametrize(("k", "smallest", "largest"), [(3, 3, 3), ([1, 3], 1, 3), ("all", 1, 5)])
def test_the_k_trained_for(k: int | list[int] | str, smallest: int, largest: int) -> None:
    metrics = metrics_of(REWARDS, LAYOUT, Objective.of(k))
    assert (metrics["best_of_k/k/smallest"], metrics["best_of_k/k/largest"]) == (smallest, largest)


def test_mean_square_advantage() -> None:
    metrics = metrics_of(REWARDS, LAYOUT, Objective.of(3, normalize="std"))
    expected = grouped_max_at_k_advantages(REWARDS, LAYOUT, 3, normalize="std").square().mean().item()
    assert metrics["best_of_k/advantage/mean_square"] == pytest.approx(expected, rel=1e-6)


def test_mean_advantage() -> None:
    centred = metrics_of(REWARDS, LAYOUT, Objective.of(3))
    assert centred["best_of_k/advantage/mean"] == pytest.approx(0, abs=1e-7)
    positive = metrics_of(REWARDS, LAYOUT, Objective.of(3, baseline="loo_minus_one"))
    expected = grouped_max_at_k_advantages(REWARDS, LAYOUT, 3, baseline="loo_minus_one").mean().item()
    assert positive["best_of_k/advantage/mean"] == pytest.approx(expected)
    assert expected > 0.1


def test_a_label_without_members_is_not_a_group() -> None:
    rewards, labels = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1, 1, 1])
    batches = ranked_groups(rewards, labels)
    metrics = training_metrics(batches, advantages_of(batches, rewards, Objective.of(1)), Objective.of(1))
    assert metrics["best_of_k/groups/signal"] == 1
    assert metrics["best_of_k/reward@1"] == pytest.approx(1 / 3)


def test_an_empty_batch_has_no_metrics() -> None:
    assert training_metrics([], torch.zeros(0), Objective.of(2)) == {}


@pytest.mark.parametrize(("rule", "name"), [("score", "selected"), ("vote", "maj")])
def test_what_another_rule_keeps_is_logged_beside_max_at_k(rule: Any, name: str) -> None:
    rewards, chosen = torch.tensor([1.0, 0, 0, 1, 0, 1, 1, 1]), [3, 5, 1, 2, 7, 7, 7, 7]
    keys = answer_labels(chosen, rewards.shape, rewards.device) if rule == "vote" else torch.tensor(chosen).double()
    batches = ranked_groups(rewards, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), keys, rule)
    objective = Objective.of([1, 3])
    metrics = training_metrics(batches, advantages_of(batches, rewards, objective), objective)
    kept = {"score": selected_at_k, "vote": maj_at_k}[rule]
    for k in (1, 3):
        expected = [kept(rewards[rows], chosen[rows], k) for rows in (slice(4), slice(4, 8))]
        assert metrics[f"best_of_k/{name}@{k}"] == pytest.approx(sum(expected).item() / 2)
        best = [max_at_k(rewards[rows], k) for rows in (slice(4), slice(4, 8))]
        assert metrics[f"best_of_k/reward@{k}"] == pytest.approx(sum(best).item() / 2)
    assert metrics["best_of_k/groups/signal"] == 1


@pytest.mark.parametrize("chosen", BASELINES)
def test_verl_averages_them_over_the_iterations_of_a_step(chosen: str) -> None:
    steps = [metrics_of(rewards, LAYOUT, Objective.of(3, baseline=chosen)) for rewards in (REWARDS, REWARDS.exp())]
    aggregator = MetricsAggregator()
    for step in steps:
        aggregator.add_step_metrics(step, sample_count=len(LAYOUT))
    for name, value in aggregator.get_aggregated_metrics().items():
        assert value == pytest.approx((steps[0][name] + steps[1][name]) / 2), name
