"""The options under algorithm.maxpo, and the check before a run starts."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from support.verl_runs import batch, composed
from torch.testing import assert_close
from verl.trainer.ppo.ray_trainer import compute_advantage

from verl_maxpo import grouped_max_at_k_advantages
from verl_maxpo.best_of_k.baselines import BASELINES
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer import hooks
from verl_maxpo.trainer.check import check_algorithm, check_select_by
from verl_maxpo.trainer.config import MaxPOConfig


def options_of(**options: Any) -> MaxPOConfig:
    return MaxPOConfig.from_algorithm(OmegaConf.create({"adv_estimator": "maxpo", "maxpo": options}))


# Options


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (None, r"set algorithm\.maxpo\.k, as \+algorithm\.maxpo\.k=8"),
        ({"adv_estimator": "maxpo"}, r"set algorithm\.maxpo\.k"),
        ({"maxpo": 8}, r"algorithm\.maxpo must be a mapping such as \{k: 8\}, got 8"),
    ],
)
def test_a_node_that_is_missing(algorithm: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxPOConfig.from_algorithm(algorithm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "k is required"),
        ({"k": "???"}, "k is required"),
        ({"k": None}, "k is required"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"k": 2.0}, "k must be an integer, got 2.0"),
        ({"k": True}, "k must be an integer, got True"),
        ({"k": "ALL"}, "k must be an integer, some integers or 'all', got 'ALL'"),
        ({"k": "[1,"}, "k must be such as 8, [1,8], all or {0: 8, 150: 1}, got '[1,'"),
        ({"k": []}, "k must be an integer, some integers or 'all', got []"),
        ({"k": 2, "scale_by_k": "yes"}, "scale_by_k must be true or false, got 'yes'"),
        (
            {"k": 2, "baseline": "rloo"},
            f"baseline must be one of {sorted(BASELINES)}, ",
        ),
        ({"k": 2, "baseline": ["l2o"]}, "baseline must be one of"),
        ({"k": 2, "normalize": "var"}, "normalize must be null or 'std', got 'var'"),
        ({"k": [1, 4], "weights": [0.5, 0.6]}, "weights must be 2 non-negative numbers that sum to 1"),
        ({"k": "all", "weights": [1.0]}, "weights must be null with k='all'"),
        (
            {"k": 4, "select_by": "vote", "baseline": "loo"},
            "baseline must be 'l2o' unless the reward decides, got 'loo'",
        ),
        ({"k": 4, "select_by": "judge", "normalize": "std"}, "normalize must be null unless the reward decides"),
        ({"k": "all", "select_by": "vote"}, "k must be an integer or some integers with votes, got 'all'"),
        ({"k": 4, "select_by": None}, "select_by must be reward, vote or a name in reward_extra_info, got None"),
        ({"k": "all", "baseline": "loo"}, "baseline must be 'l2o' with k='all', got 'loo'"),
        ({"k": {}}, "k must map steps to k, from step 0 on, such as {0: 8, 150: 1}, got {}"),
        ({"k": {2: 8}}, "k must map steps to k, from step 0 on, such as {0: 8, 150: 1}, got {2: 8}"),
        ({"k": {"start": 8}}, "k must map steps to k, from step 0 on"),
        ({"k": {-1: 8}}, "k must map steps to k, from step 0 on"),
        ({"k": {0: 8, 150: 0}}, "k must be at least 1, got 0 from step 150"),
        ({"k": {0: 8, 150: {3: 1}}}, "k must be an integer, got {3: 1} from step 150"),
        ({"k": {0: 8, 150: [1, 8]}, "weights": [0.5, 0.5]}, "weights must be null with a schedule"),
    ],
)
def test_unusable_options_name_the_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"algorithm.maxpo.{message}")):
        options_of(**options)


def test_an_unknown_option() -> None:
    message = "algorithm.maxpo has no option kk; its options are k, select_by, weights, baseline, normalize, scale_by_k"
    with pytest.raises(ValueError, match=f"{message}$"):
        options_of(k=2, kk=3)


def test_options_are_frozen_and_read_from_any_mapping() -> None:
    options = MaxPOConfig.from_algorithm({"maxpo": {"k": 4, "scale_by_k": False}})
    assert options == MaxPOConfig(k=4, scale_by_k=False)
    with pytest.raises(AttributeError):
        options.k = 5  # type: ignore[misc]


@pytest.mark.parametrize("k", [8, [1, 8], "all", {0: 8, 150: 1}, "{0: [1, 8], 150: all}"])
def test_every_form_of_k(k: Any) -> None:
    """As a command line gives it: quoted text is what it would be without quotes."""
    text = str(k).replace("'", "")
    on_command_line = composed("maxpo_trainer", f"algorithm.maxpo.k={text}").algorithm
    quoted = composed("maxpo_trainer", f"algorithm.maxpo.k='{text}'").algorithm
    added = composed("ppo_trainer", f"+algorithm.maxpo.k={text}", package="verl.trainer.config").algorithm
    objectives = options_of(k=k).objectives
    for algorithm in (on_command_line, quoted, added):
        assert MaxPOConfig.from_algorithm(algorithm).objectives == objectives
    assert objectives[min(objectives)].k in ((8,), (1, 8), "all")


def test_a_schedule() -> None:
    options = options_of(k={10: [1, 8], 1: 8, 150: "all"}, baseline="l2o")
    for step, k in ((0, 8), (1, 8), (9, 8), (10, [1, 8]), (149, [1, 8]), (150, "all"), (10**6, "all")):
        assert options.objective_at(step) == Objective.of(k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is a schedule, and only verl's V1 trainer tells the step: use trainer"):
        options.objective_at(None)
    assert options_of(k={0: 8}).objective_at(None) == Objective.of(8)


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_mixture_through_verl(baseline: str) -> None:
    overrides = ["algorithm.maxpo.k=[1,4]", "algorithm.maxpo.weights=[0.25,0.75]"]
    config = composed("maxpo_trainer", *overrides, f"algorithm.maxpo.baseline={baseline}").algorithm
    data = compute_advantage(batch(), adv_estimator="maxpo", config=config)
    rewards = data.batch["token_level_rewards"].sum(-1)
    expected = grouped_max_at_k_advantages(
        rewards, data.non_tensor_batch["uid"], [1, 4], weights=[0.25, 0.75], baseline=baseline
    )
    assert_close(data.batch["advantages"], expected[:, None] * data.batch["response_mask"])
    assert expected.any()


# The check at the start


@cache
def base() -> DictConfig:
    return composed("maxpo_trainer", "actor_rollout_ref.rollout.n=8")


def whole(*overrides: str) -> DictConfig:
    """As on the command line, without composing anew."""
    config = copy.deepcopy(base())
    OmegaConf.set_struct(config, False)
    config.merge_with_dotlist([override.lstrip("+") for override in overrides])
    return config


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm.maxpo.k=7"],
        ["algorithm.maxpo.k=[1,7]"],
        ["algorithm.maxpo.k=all"],
        ["algorithm.maxpo.k={0: 7, 100: all}"],
        ["algorithm.maxpo.k=8", "algorithm.maxpo.baseline=loo_minus_one"],
        ["algorithm.maxpo.k=[1,8]", "algorithm.maxpo.baseline=group_mean"],
        ["algorithm.maxpo.k=900", "algorithm.adv_estimator=grpo"],
        ["algorithm.maxpo.k=7", "+reward.reward_kwargs.unscored=drop"],
        ["algorithm.maxpo.k=all", "algorithm.maxpo.select_by=judge"],
        ["algorithm.maxpo.k=[1,7]", "algorithm.maxpo.select_by=vote"],
        ["algorithm.maxpo.k=7", "+reward.reward_kwargs.unscored=zero", "trainer.use_v1=false"],
    ],
)
def test_what_can_run(overrides: list[str]) -> None:
    check_algorithm(whole(*overrides))


N = "actor_rollout_ref.rollout.n=8"
RAISE = ": raise actor_rollout_ref.rollout.n or lower algorithm.maxpo.k"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algorithm.maxpo.k=8"], f"algorithm.maxpo.k=8 needs groups of at least 9 responses, got {N}{RAISE}"),
        (["algorithm.maxpo.k=[1,9]"], "algorithm.maxpo.k=9 needs groups of at least 10 responses, got actor"),
        (
            ["algorithm.maxpo.k={0: 4, 100: 8}"],
            f"algorithm.maxpo.k=8 needs groups of at least 9 responses, got {N} from step 100{RAISE}",
        ),
        (
            ["algorithm.maxpo.k=all", "actor_rollout_ref.rollout.n=1"],
            "algorithm.maxpo.k=all needs groups of at least 2",
        ),
        (
            ["algorithm.maxpo.k=8", "algorithm.maxpo.baseline=group_mean"],
            f"algorithm.maxpo.baseline=group_mean gives zero advantages where algorithm.maxpo.k=8 is {N}{RAISE}",
        ),
        (
            ["algorithm.maxpo.k=4", "critic.enable=true"],
            "critic.enable=true trains a critic that algorithm.adv_estimator=maxpo",
        ),
        (["algorithm.maxpo.k=4", "algorithm.maxpo.baseline=rloo"], "algorithm.maxpo.baseline must be one of"),
        (
            ["algorithm.maxpo.k=[1,4]", "algorithm.maxpo.weights=[1,1]"],
            "algorithm.maxpo.weights must be 2 non-negative",
        ),
        (["algorithm.maxpo.k=4", "+algorithm.maxpo.kk=4"], "algorithm.maxpo has no option kk"),
        (["algorithm.maxpo.k=null"], "algorithm.maxpo.k is required and not set, got None"),
        (
            ["algorithm.maxpo.k={0: 4, 9: 1}", "trainer.use_v1=false"],
            "is a schedule, which needs verl's V1 trainer, got trainer.use_v1=false: remove that or use one k",
        ),
        (
            ["algorithm.maxpo.k=4", "algorithm.maxpo.select_by=judge", "trainer.use_v1=false"],
            "algorithm.maxpo.select_by=judge needs verl's V1 trainer, got trainer.use_v1=false: remove that or use",
        ),
        (
            ["+reward.reward_kwargs.unscored=drop", "algorithm.maxpo.k=4", "trainer.use_v1=false"],
            "reward.reward_kwargs.unscored=drop needs verl's V1 trainer",
        ),
        (
            ["+reward.reward_kwargs.unscored=drop", "algorithm.adv_estimator=grpo"],
            "reward.reward_kwargs.unscored=drop needs algorithm.adv_estimator=maxpo, got grpo",
        ),
    ],
)
def test_what_cannot_run_names_the_key_and_the_fix(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_algorithm(whole(*overrides))


@pytest.mark.parametrize(
    "override",
    ["algorithm.maxpo.k={0: 4, 9: 1}", "+reward.reward_kwargs.unscored=drop", "algorithm.maxpo.select_by=vote"],
)
def test_what_needs_the_hook_is_an_error_without_it(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    config = whole("algorithm.maxpo.k=4", override)
    check_algorithm(config)
    monkeypatch.setattr(hooks, "_hooked", set())
    with pytest.raises(ValueError, match="needs a hook that this version of verl does not take"):
        check_algorithm(config)


NEEDS = "in the reward_extra_info of every response, got "


@pytest.mark.parametrize(
    ("select_by", "infos", "message"),
    [
        ("judge", [{"acc": 1.0, "judge": 0.5}, {"acc": 0.0, "judge": None}], None),
        ("judge", [{"acc": 1.0, "judge": 0.5}, {"acc": 0.0}], f"judge needs judge {NEEDS}acc: return"),
        ("judge", [{"acc": 1.0, "judge": "good"}], "judge needs a finite number in the reward_extra_info, got 'good'"),
        ("judge", [{}], f"judge needs judge {NEEDS}none: return"),
        ("reward", [{}], None),
        ("vote", [{"acc": 1.0, "answer": "7"}, {"acc": 0.0, "answer": ""}], None),
        ("vote", [{"pred": None}], None),
        ("vote", [{"acc": 0.0, "status": "no_answer"}], f"vote needs answer {NEEDS}acc, status: return"),
        ("vote", [{"acc": 1.0, "answer": ""}], "vote needs an answer to vote with, but a correct response of 'gsm8k'"),
    ],
)
def test_what_is_selected_by_has_to_be_reported(
    select_by: str, infos: list[dict[str, Any]], message: str | None
) -> None:
    config = whole("algorithm.maxpo.k=4", f"algorithm.maxpo.select_by={select_by}")
    if message is None:
        check_select_by(config, {"gsm8k": infos, "unknown": []})
    else:
        with pytest.raises(ValueError, match=re.escape(f"algorithm.maxpo.select_by={message}")):
            check_select_by(config, {"gsm8k": infos})
        config.algorithm.adv_estimator = "grpo"
        check_select_by(config, {"gsm8k": infos})


def test_verls_own_configuration_without_our_node() -> None:
    config = composed("ppo_trainer", "algorithm.adv_estimator=maxpo", package="verl.trainer.config")
    with pytest.raises(ValueError, match=r"set algorithm\.maxpo\.k, as \+algorithm\.maxpo\.k=8 on verl's own configs"):
        check_algorithm(config)
