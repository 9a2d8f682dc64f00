"""The statistics of the studies: choices, intervals, the optimum, variances."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import sem
from scipy.stats import t as student_t
from support.reproduction import bandit, claims, curves, intervals, optimum, pictures, report, studies, variance

from verl_maxpo import max_at_k_advantages


def make_run(
    method: str = "grpo", lr: float = 4e-5, seed: int = 0, right: tuple[int, ...] = (0, 1, 2), cpu: str = ""
) -> curves.Run:
    """A run on plain Countdown in which every held-out problem has the same number of right samples of 32."""
    evaluations = [
        {"step": 100 * i, "temperature": 1.0, "samples": 32, "successes": np.base_repr(count, 36) * 300}
        for i, count in enumerate(right)
    ]
    return curves.Run(method, lr, seed, "countdown", tuple(evaluations), {"cpu": cpu})


def test_pass_at_k_of_a_run_weighs_the_problems_of_a_prompt() -> None:
    weights, first = curves.hidden_digit_weights()
    counts = "".join("w" if i in first else "0" for i in range(len(weights)))  # always the likeliest target
    evaluation = {"step": 0, "temperature": 1.0, "samples": 32, "successes": counts}
    run = curves.Run("", 0.0, 0, "hidden_digit", (evaluation,), {})
    np.testing.assert_allclose(run.value(8, 0), weights[first])
    np.testing.assert_allclose(np.add.reduceat(weights, first), 1)


def test_the_step_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    run = make_run()
    better = "".join("91"[i % 2] for i in range(300))  # on the validation half only
    run.evaluations[1]["successes"] = better
    best = curves.best_checkpoint(run, 1)
    assert best.step == 100
    assert best.validation == pytest.approx(9 / 32)
    assert best.reported == pytest.approx(np.full(150, 1 / 32))


def test_a_difference_is_between_runs_with_the_same_start() -> None:
    runs = [
        make_run("grpo", right=(0, 8), cpu="one"),
        make_run("grpo", right=(0, 16), cpu="other"),
        make_run("maxpo", right=(0, 24), cpu="other"),
        make_run("maxpo", right=(0, 32), cpu="other", seed=1),
        make_run("all", right=(0, 32), cpu="third"),
    ]
    comparison = curves.Comparison("countdown", runs)
    assert comparison.blocks("maxpo", "grpo") == {("other", 0)}
    assert comparison.difference("maxpo", "grpo", 1, "final").mean == pytest.approx(24 / 32 - 16 / 32)
    assert not comparison.blocks("all", "grpo")
    assert not comparison.blocks("all", "one that has not run")


def test_a_single_run_from_another_start_is_left_out() -> None:
    several = [make_run("grpo", right=(0, 8), cpu="one", seed=seed) for seed in (0, 1)]
    single = make_run("grpo", right=(0, 16), cpu="other")
    comparison = curves.Comparison("countdown", [single, *several])
    assert comparison.methods["grpo"] == several
    assert curves.Comparison("countdown", [single]).methods["grpo"] == [single]


def test_rates_are_scanned_on_one_start() -> None:
    other = [make_run(lr=1e-5, right=(0, 9), cpu="other"), make_run(lr=2e-5, right=(0, 9), cpu="other")]
    usual = [make_run(lr=lr, right=(0, 3), cpu="usual") for lr in (2e-5, 4e-5, 8e-5)]
    for runs in ([*other, *usual], [*usual, *other]):
        starts = {lr: run.start for lr, run in curves.scan_of(runs, "grpo").items()}
        assert starts == {1e-5: "other", 2e-5: "usual", 4e-5: "usual", 8e-5: "usual"}


def test_both_choices() -> None:
    sharp = make_run(lr=8e-5, right=(0, 8))
    half = "".join("g0"[i // 2 % 2] for i in range(300))  # half of the prompts always right: a better pass@1
    sharp.evaluations[1]["successes"] = half
    runs = [make_run(lr=4e-5, right=(0, 8)), sharp]
    assert curves.Comparison("countdown", runs, target=8).methods["grpo"][0].lr == 4e-5
    assert curves.Comparison("countdown", runs, target=1).methods["grpo"][0].lr == 8e-5


def test_what_is_deployed_chooses_the_rate_and_the_step() -> None:
    runs = [make_run("grpo", lr=lr, seed=seed) for lr in (4e-5, 8e-5) for seed in (0, 1)]  # equal at pass@8
    for run in runs:
        for evaluation, kept in zip(run.evaluations, (0.1, 0.3, 0.2), strict=True):
            better = 0.1 * (run.lr == 8e-5) + 0.01 * run.seed
            evaluation["deployed"] = {"selected@4": [kept + better, kept] * 150}
    comparison = curves.Comparison("judge", runs, "selected@4")
    assert {run.lr for run in comparison.methods["grpo"]} == {8e-5}
    assert comparison.sample("grpo", "selected@4", "best").values.tolist() == [[0.3] * 150] * 2  # the other half
    assert comparison.sample("grpo", "selected@4", "final").mean == pytest.approx(0.2)
    assert report.columns_of(comparison) == [1, 4, "selected@4"]
    study = studies.Study("hidden_digit", studies.quickstart("hidden_digit"), 200, [[studies.GRPO]], rates=(4e-5, 8e-5),
                          tuned_for=("selected@4",))  # fmt: skip
    assert study.best_rate(studies.GRPO, runs, "selected@4") == 8e-5
    assert "grpo-lr8e-05-seed4" in [job.name for job in study.jobs(runs)]


@pytest.mark.parametrize(
    ("intervals_", "runs", "verdict"),
    [
        ([(0.1, 0.2), (0.01, 0.3)], 5, "seen here"),
        ([(0.1, 0.2), (-0.01, 0.3)], 5, "partly: 1 of 2 clearly for it, 0 against"),
        ([(-0.1, 0.2)], 5, "not seen here: no clear difference"),
        ([(-0.2, -0.1)], 5, "not seen here: the opposite"),
        ([(0.1, 0.2)], 1, "a hint from one seed: seen here"),
        ([], 0, "not tested yet"),
    ],
)
def test_verdicts_follow_from_the_intervals(intervals_: list[tuple[float, float]], runs: int, verdict: str) -> None:
    measured = [("", intervals.Estimate((low + high) / 2, low, high, runs)) for low, high in intervals_]
    assert claims.Claim("", "", "", list).verdict(measured) == verdict


@pytest.mark.parametrize("samples", [16, 32, 35, 36, 256, 1295])
def test_counts_come_back(samples: int) -> None:
    counts = [0, 1, samples // 2, samples]
    assert curves.expanded(curves.compact(counts, samples), samples).tolist() == counts


def test_methods_are_compared_at_equal_numbers_of_responses() -> None:
    runs = [make_run(method) for method in ("grpo", "maxpo", "grpo_n16", "maxpo_k8_n16")]
    comparison = curves.Comparison("countdown", runs)
    assert comparison.baseline_of("maxpo") == "grpo"
    assert comparison.baseline_of("maxpo_k8_n16") == "grpo_n16"


def test_interval_of_seeds_alone_is_students() -> None:
    means = np.array([0.1, 0.4, 0.3, 0.2, 0.6])
    sample = intervals.Sample(np.repeat(means[:, None], 50, axis=1), ("one",) * 5)
    low, high = student_t.interval(0.95, 4, means.mean(), sem(means))
    assert intervals.estimate(sample)[:3] == pytest.approx((0.32, low, high))


def test_interval_of_a_difference_pairs_the_prompts() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.random(150)
    starts = ("one",) * 5
    values = intervals.Sample(prompts + 0.1 + 0.01 * rng.standard_normal((5, 150)), starts)
    other = intervals.Sample(prompts + 0.01 * rng.standard_normal((5, 150)), starts)
    found = intervals.estimate(values, other)
    assert found.low < 0.1 < found.high
    assert found.high - found.low < 0.01  # unpaired it would be about 0.13
    assert intervals.estimate(values).high - intervals.estimate(values).low > 0.05


@pytest.mark.parametrize(
    ("seeds", "starts", "spread", "least"), [(3, 1, 0, 0.93), (5, 1, 0, 0.93), (5, 2, 0, 0.95), (5, 2, 0.02, 0.89)]
)
def test_interval_holds_the_difference_as_often_as_it_says(
    seeds: int, starts: int, spread: float, least: float
) -> None:
    """Runs that differ by .012 between seeds and by ``spread`` between starts, as much as the studies' and more."""
    rng = np.random.default_rng(1)
    names = tuple("ab"[i] for i in range(starts) for _ in range(seeds))

    def sample(of_start: float) -> intervals.Sample:
        between = of_start * rng.standard_normal(starts).repeat(seeds)[:, None]
        runs = 0.012 * rng.standard_normal((len(names), 1)) + 0.05 * rng.standard_normal((len(names), 150))
        return intervals.Sample(prompts + between + runs, names)

    held = 0
    for _ in range(500):
        prompts = 0.3 * rng.standard_normal(150)
        found = intervals.estimate(sample(spread), sample(0))
        held += found.low < 0 < found.high
    assert least <= held / 500 <= 0.995


@pytest.mark.parametrize("k", [2, 4, 16])
@pytest.mark.parametrize("targets", [2, 5, 9])
def test_water_filling_finds_the_optimum(k: int, targets: int) -> None:
    w = 0.5 ** np.arange(targets)
    w /= w.sum()
    found = optimum.pass_at_k_of(w, optimum.best_policy(w, {k: 1.0}), k)
    simplex = {"type": "eq", "fun": lambda p: p.sum() - 1}
    other = minimize(
        lambda p: -optimum.pass_at_k_of(w, p, k), np.full(targets, 1 / targets), bounds=[(0, 1)] * targets,
        constraints=[simplex], tol=1e-10,
    )  # fmt: skip
    assert found == pytest.approx(-other.fun, abs=1e-6)


def test_frontier_goes_from_the_best_pass_at_1_to_the_best_pass_at_8() -> None:
    prompts = [[0.5, 0.3, 0.2], [0.6, 0.4]]
    curve = optimum.frontier(prompts, 8, points=5)
    assert curve[0][0] == pytest.approx(0.55)
    assert curve[-1][1] == pytest.approx(optimum.optimum(prompts, {8: 1.0}, 8))
    assert all(a[0] >= b[0] and a[1] <= b[1] for a, b in pairwise(curve))


def test_a_study_scans_the_rates_then_runs_the_seeds_at_the_best() -> None:
    start = studies.quickstart("countdown")
    study = studies.Study("countdown", start, 300, [[studies.GRPO], [studies.ALL]], rates=(4e-5, 8e-5), seeds=(0, 1))
    assert [job.name for job in study.jobs([])] == [
        "grpo-lr4e-05-seed0", "grpo-lr8e-05-seed0", "all-lr4e-05-seed0", "all-lr8e-05-seed0"
    ]  # fmt: skip
    runs = [make_run(lr=4e-5, right=(0, 3, 1)), make_run(lr=8e-5, right=(0, 1, 2))]
    names = [job.name for job in study.jobs(runs)]
    assert names.index("grpo-lr2e-05-seed0") < names.index("grpo-lr4e-05-seed1") < names.index("all-lr4e-05-seed0")
    assert "grpo-lr8e-05-seed1" not in names
    assert study.count() == 6


def test_trace_of_the_covariance_and_its_jackknife() -> None:
    gradients = torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    accumulator = variance.Accumulator()
    for i, gradient in enumerate(gradients):
        accumulator.add(i // 10, gradient)
    whole, *without = accumulator.traces()
    assert whole == pytest.approx(float(gradients.var(dim=0).sum()))
    assert without[1] == pytest.approx(float(torch.cat([gradients[:10], gradients[20:]]).var(dim=0).sum()))


def test_exact_gradient_of_the_bandit_and_unbiased_estimates() -> None:
    rewards, k, n = torch.tensor([0.3, -1.0, 2.0, 0.3, 0.9], dtype=torch.float64), 2, 3
    logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    pairs = logits.softmax(0)[:, None] * logits.softmax(0)
    (pairs * torch.maximum(rewards[:, None], rewards)).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(bandit.exact_gradient(rewards, k), logits.grad)
    groups = torch.cartesian_prod(*[torch.arange(5)] * n)  # every outcome
    for baseline in bandit.BASELINES:
        advantages = max_at_k_advantages(rewards[groups], k, baseline=baseline) / n
        estimates = torch.zeros(len(groups), 5, dtype=torch.float64).scatter_add(1, groups, advantages)
        estimates -= advantages.sum(dim=1, keepdim=True) / 5
        torch.testing.assert_close(estimates.mean(dim=0), logits.grad)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_weight_of_a_problem_is_the_slope_of_its_objective(k: int) -> None:
    rewards, rates = (torch.arange(9) < torch.arange(10)[:, None]).double(), np.array([0.01, 0.3, 0.9])
    weights = pictures.weights_of(max_at_k_advantages(rewards, k).numpy(), rates)
    np.testing.assert_allclose(weights, k * (1 - rates) ** (k - 1))
    likelihood = pictures.weights_of(max_at_k_advantages(rewards, "all").numpy(), rates)
    np.testing.assert_allclose(likelihood, (1 - (1 - rates) ** 8) / rates)  # of log p, up to the order n - 1
