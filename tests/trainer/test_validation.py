"""pass@k and max@k in verl's validation metrics, against their definitions, through both of verl's trainers."""

from __future__ import annotations

import logging
import types
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import verl.trainer.ppo.ray_trainer as ray_trainer
import verl.trainer.ppo.v1.trainer_base as trainer_base
from hypothesis import given, settings
from hypothesis import strategies as st
from support.verl_runs import composed
from verl.trainer.ppo import metric_utils
from verl.trainer.ppo.metric_utils import process_validation_metrics

from verl_maxpo import maj_at_k, selected_at_k
from verl_maxpo.evaluate.dumps import read_runs
from verl_maxpo.evaluate.estimates import by_prompt
from verl_maxpo.trainer import hooks
from verl_maxpo.trainer.validation import SWITCH, validation_metrics


def samples(groups: dict[str, list[Any]], source: str = "math") -> dict[str, list[Any]]:
    """Lay out the samples of some prompts as the trainer has them."""
    rows = [(uid, value) for uid, values in groups.items() for value in values]
    return {"data_sources": [source] * len(rows), "sample_uids": [u for u, _ in rows], "values": [v for _, v in rows]}


def estimates(groups: dict[str, list[Any]], variable: str, expected: dict[str, int] | None = None) -> dict[str, float]:
    laid_out = samples(groups)
    counts = {("math", uid): n for uid, n in (expected or {}).items()}
    infos = {variable: laid_out.pop("values")}
    return validation_metrics(**laid_out, infos_dict=infos, expected_acc_counts=counts)["math"].get(variable, {})


def by_enumeration(groups: list[list[float]], k: int) -> float:
    best = [np.mean([max(subset) for subset in combinations(group, k)]) for group in groups if len(group) >= k]
    return float(np.mean(best))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), min_size=1, max_size=5), st.data())
def test_estimates_are_means_over_subsets_and_prompts(groups: list[list[int]], data: st.DataObject) -> None:
    prompts = {f"uid{i}": [float(v) for v in group] for i, group in enumerate(groups)}
    failed = {uid: data.draw(st.integers(0, 2)) for uid in prompts}
    n = max(map(len, groups))
    values = estimates(prompts, "reward")
    assert list(values) == [f"max@{k}" for k in (1, 2, 4, 8) if k < n] + [f"max@{n}"]
    for name, value in values.items():
        assert value == pytest.approx(by_enumeration(list(prompts.values()), int(name[4:])))
    complete = {uid: group + [0.0] * failed[uid] for uid, group in prompts.items()}
    values = estimates(prompts, "acc", {uid: len(group) for uid, group in complete.items()})
    assert f"pass@{max(map(len, complete.values()))}" in values
    for name, value in values.items():
        assert value == pytest.approx(by_enumeration(list(complete.values()), int(name[5:])))


def test_real_rewards_below_zero() -> None:
    groups = {"a": [-1.0, 2.5, 0.25, -3.0], "b": [0.5, 0.5, -0.5, 9.0]}
    for k in (1, 2, 4):
        assert estimates(groups, "reward")[f"max@{k}"] == pytest.approx(by_enumeration(list(groups.values()), k))


def test_prompts_of_which_every_session_failed_count_as_unsolved() -> None:
    values = estimates({"a": [1, 0]}, "acc", {"a": 2, "b": 2})
    assert values == {"pass@1": 0.25, "pass@2": 0.5}


@pytest.mark.parametrize("acc", [[0.5, 1.0], [None, None], ["1", "0"], [2, 1]])
def test_acc_that_is_no_verdict_has_no_pass_at_k(acc: list[Any]) -> None:
    assert estimates({"a": acc}, "acc") == {}


def test_missing_values_are_failed_sessions() -> None:
    groups = {"a": [True, None, np.False_, np.float32(0)]}
    assert estimates(groups, "acc", {"a": 4}) == pytest.approx({"pass@1": 0.25, "pass@2": 0.5, "pass@4": 1.0})
    assert estimates(groups, "acc") == pytest.approx({"pass@1": 1 / 3, "pass@2": 2 / 3, "pass@3": 1.0})


ANSWERS = {"a": ["7", "7", "8", ""], "b": ["1", "2", "2", "2"]}
VERDICTS = {"a": [1, 1, 0, 0], "b": [1, 0, 0, 0]}
JUDGE = {"a": [0.5, 0.1, 0.5, 0.9], "b": [3.0, None, 1.0, 1.0]}


def test_the_vote_is_unbiased_and_for_every_estimator() -> None:
    laid_out = samples(VERDICTS)
    acc = laid_out.pop("values")
    for name in ("answer", "pred"):
        infos = {"acc": acc, "reward": acc, name: samples(ANSWERS)["values"]}
        found = validation_metrics(**laid_out, infos_dict=infos)["math"]
        for k in (1, 2, 4):
            votes = [maj_at_k(VERDICTS[uid], [answer or None for answer in ANSWERS[uid]], k).item() for uid in "ab"]
            assert found["acc"][f"maj@{k}"] == pytest.approx(sum(votes) / 2)
        assert not [name for name in found["reward"] if "maj" in name]


@pytest.mark.parametrize("select_by", ["judge", "vote"])
def test_validation_estimates_what_training_chooses_by(monkeypatch: pytest.MonkeyPatch, select_by: str) -> None:
    laid_out = samples(VERDICTS)
    rewards = [2.0 * value for value in laid_out.pop("values")]
    infos = {"reward": rewards, "judge": samples(JUDGE)["values"], "answer": samples(ANSWERS)["values"]}
    monkeypatch.setattr(trainer_base.PPOTrainer, "__abstractmethods__", frozenset())
    trainer = trainer_base.PPOTrainer.__new__(trainer_base.PPOTrainer)
    trainer.config = composed("maxpo_trainer", f"algorithm.maxpo.select_by={select_by}")
    metrics = trainer._val_metrics_update(laid_out["data_sources"], laid_out["sample_uids"], infos, [])
    for k in (1, 2, 4):
        if select_by == "judge":
            kept = [selected_at_k(VERDICTS[u], [-9 if s is None else s for s in JUDGE[u]], k).item() for u in "ab"]
            assert metrics[f"val-aux/math/reward/selected@{k}"] == pytest.approx(sum(kept))
        else:
            kept = [maj_at_k(VERDICTS[u], [answer or None for answer in ANSWERS[u]], k).item() for u in "ab"]
            found = metrics.get(f"val-aux/math/reward/maj@{k}", metrics.get(f"val-core/math/reward/maj@{k}"))
            assert found == pytest.approx(sum(kept))


def two_sources() -> tuple[list[str], list[str], dict[str, list[Any]], dict[tuple[str, str], int]]:
    """Two prompts with verdicts, of which one lost two sessions, and one with a score only."""
    acc = [1, 0, 0, 0, 0, 1]
    sources = ["math"] * 6 + ["code"] * 3
    uids = ["a"] * 4 + ["b"] * 2 + ["c"] * 3
    infos = {"reward": [float(a) for a in acc] + [0.5, 0.25, 1.0], "acc": [*acc, None, None, None]}
    return sources, uids, infos, {("math", "a"): 4, ("math", "b"): 4, ("code", "c"): 3}


def logged(module: types.ModuleType) -> dict[str, float]:
    sources, uids, infos, expected = two_sources()
    if module is trainer_base:
        return trainer_base.PPOTrainer._val_metrics_update(None, sources, uids, infos, [], expected)
    return ray_trainer.RayPPOTrainer._val_metrics_update(None, np.array(sources), uids, infos, [])


def test_the_default_trainer_logs_them() -> None:
    metrics = logged(trainer_base)
    ours = {
        name.removeprefix("val-aux/"): value for name, value in metrics.items() if "/pass@" in name or "/max@" in name
    }
    assert ours == pytest.approx({
        "math/acc/pass@1": 0.25, "math/acc/pass@2": 0.5, "math/acc/pass@4": 1.0,
        "math/reward/max@1": 0.375, "math/reward/max@2": 0.75, "math/reward/max@4": 1.0,
        "code/reward/max@1": 1.75 / 3, "code/reward/max@2": 2.5 / 3, "code/reward/max@3": 1.0,
    })  # fmt: skip


def test_the_legacy_trainer_logs_them_without_counting_failed_sessions() -> None:
    metrics = logged(ray_trainer)
    assert metrics["val-aux/math/acc/pass@1"] == 0.375
    assert metrics["val-aux/code/reward/max@3"] == 1.0


@pytest.mark.parametrize("module", [trainer_base, ray_trainer])
def test_verls_own_metrics_stay_as_they_are(module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ours = logged(module)
    monkeypatch.setattr(module, "process_validation_metrics", process_validation_metrics)
    verls = logged(module)
    assert any(name.startswith("val-core/math/acc/mean@") for name in verls)
    assert {name: with_ours[name] for name in verls} == verls
    assert all("/acc/pass@" in name or "/reward/max@" in name for name in with_ours.keys() - verls.keys())


def test_they_are_what_evaluate_finds_in_the_dump_of_the_same_validation(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    acc = (rng.random((5, 6)) < 0.3).astype(float).ravel().tolist()
    scores = (np.array(acc) + rng.normal(size=30)).tolist()
    uids = [f"uid{i}" for i in range(5) for _ in range(6)]
    infos = {"reward": scores, "acc": acc}
    texts = [f"prompt of {uid}" for uid in uids]
    trainer_base.PPOTrainer._write_generations(texts, texts, texts, scores, infos, tmp_path, 7)
    metrics = trainer_base.PPOTrainer._val_metrics_update(None, ["math"] * 30, uids, infos, [])
    (dumped,) = read_runs([tmp_path])[0].cells.values()
    labels, correct = dumped.labels, np.array(dumped.acc)
    passed = by_prompt([1, 2, 4, 6], labels, correct)
    best = by_prompt([1, 2, 4, 6], labels, np.array(dumped.score))
    for k in (1, 2, 4, 6):
        assert metrics[f"val-aux/math/acc/pass@{k}"] == pytest.approx(passed[k].mean())
        assert metrics[f"val-aux/math/reward/max@{k}"] == pytest.approx(best[k].mean())


# The hook


def module_with(function: Any) -> types.ModuleType:
    module = types.ModuleType("trainer")
    module.process_validation_metrics = function  # type: ignore[attr-defined]
    return module


def test_a_switch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    module = module_with(process_validation_metrics)
    monkeypatch.setenv(SWITCH, "0")
    hooks.add_validation_metrics(module)
    assert module.process_validation_metrics is process_validation_metrics
    assert not caplog.records
    monkeypatch.setenv(SWITCH, "no")
    hooks.add_validation_metrics(module)
    assert "VERL_MAXPO_VALIDATION_METRICS must be 0 or 1, got 'no'" in caplog.text


def test_a_verl_that_has_changed_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def process_validation_metrics(batch: Any) -> dict[str, Any]:
        return {}

    module = module_with(process_validation_metrics)
    hooks.add_validation_metrics(module)
    assert module.process_validation_metrics is process_validation_metrics
    assert "verl has changed" in caplog.text
    assert "Until then validation has no pass@k" in caplog.text


def test_values_that_cannot_be_used_do_not_stop_a_validation(caplog: pytest.LogCaptureFixture) -> None:
    sources, uids, infos, _ = two_sources()
    infos["reward"][0] = float("nan")
    with caplog.at_level(logging.WARNING):
        metrics = trainer_base.process_validation_metrics(sources, uids, infos)
    assert metrics["code"]["reward"]["mean@3"] == pytest.approx(1.75 / 3)
    assert "this validation has no pass@k and max@k: rewards must be finite" in caplog.text


# verl's bootstrap

quick = metric_utils.bootstrap_metric
NUMBERS = st.one_of(st.integers(-3, 3), st.booleans(), st.floats(width=32), st.floats(-2, 2).map(np.float64))


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=9), st.data())
def test_the_bootstrap_is_verls_to_the_last_bit(values: list[Any], data: st.DataObject) -> None:
    size, seed = data.draw(st.integers(1, len(values))), data.draw(st.integers(0, 99))
    functions = data.draw(st.permutations([np.max, np.min, np.mean]))[: data.draw(st.integers(1, 3))]
    arguments = (values, size, functions, 40)
    found = [(one(*arguments, seed=seed), np.random.random()) for one in (quick, quick.__wrapped__)]  # noqa: NPY002
    assert repr(found[0]) == repr(found[1])  # NaN too, and what is drawn after it


def test_verl_calls_the_quick_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(hooks, "bootstrapped", lambda **given: sizes.append(given["subset_size"]))
    process_validation_metrics(["math"] * 4, ["a"] * 4, {"acc": [0, 1, 0, 0]})
    assert sizes == [2, 4]


def test_a_bootstrap_that_has_changed_stays(caplog: pytest.LogCaptureFixture) -> None:
    def bootstrap_metric(
        data: Any, subset_size: Any, reduce_fns: Any, n_bootstrap: int = 1000, seed: int = 42
    ) -> list[tuple[float, float]]:
        return [(0.25, 0.5)] * len(reduce_fns)

    module = types.ModuleType("metric_utils")
    module.bootstrap_metric = bootstrap_metric  # type: ignore[attr-defined]
    hooks.quicken_bootstrap(module)
    for _ in range(2):
        assert module.bootstrap_metric([0, 1], 2, [np.max]) == [(0.25, 0.5)]
    assert caplog.text.count("verl has changed") == 1
    assert "to return [(0." in caplog.text
    assert "found [(0.25, 0.5)]" in caplog.text
