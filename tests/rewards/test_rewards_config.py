"""Options and routes of the reward manager."""

import importlib
import shlex

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from support.verl_runs import composed

from verl_maxpo.rewards.config import OverlongBuffer, VerifierConfig
from verl_maxpo.rewards.registry import find_verifier, load_verifier, verifier_names
from verl_maxpo.rewards.routing import DEFAULT_ROUTES, SANDBOX_FUSION, Route


def test_the_shipped_node_has_exactly_the_options_and_their_defaults():
    with initialize_config_module("verl_maxpo.config", version_base=None):
        node = compose("verifier", overrides=["+data.max_response_length=7"]).reward.reward_kwargs
    shipped = VerifierConfig.from_reward_kwargs(node)
    assert shipped == VerifierConfig(max_resp_len=7)
    assert set(node) == set(VerifierConfig.__dataclass_fields__) - {"data_sources", "router"}
    assert set(node.overlong_buffer_cfg) == set(OverlongBuffer.__dataclass_fields__)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, r"^reward\.reward_kwargs\.timeout: expected float > 0\.0, got 0$"),
        ({"timeout": float("nan")}, "timeout: expected float > 0"),
        ({"timeout": float("inf")}, "timeout: expected finite numbers"),
        ({"timeout": "5s"}, r"^reward\.reward_kwargs\.timeout: expected float, got str: '5s'$"),
        ({"workers": "2"}, "workers: expected int, got str"),
        ({"workers": True}, "workers: expected int, got bool"),
        ({"workers": 0}, "workers: expected int >= 1, got 0"),
        ({"memory_limit_mb": 1}, "memory_limit_mb: expected int >= 64"),
        ({"max_response_chars": 0}, "max_response_chars"),
        ({"score_range": [1, 0]}, "score_range must have the lower number first"),
        ({"score_range": [1]}, "score_range: expected list of length 2"),
        ({"score_range": "0,1"}, "score_range: expected list, got str"),
        ({"format_bonus": float("inf")}, "format_bonus: expected finite numbers, got inf"),
        ({"unscored": "dorp"}, "unscored: expected zero or drop, got 'dorp'"),
        (
            {"tiemout": 1},
            r"reward\.reward_kwargs has no option 'tiemout' \(did you mean 'timeout'\?\): it has workers, ",
        ),
        ({"overlong_buffer_cfg": {"lenn": 1}}, r"overlong_buffer_cfg has no option 'lenn' \(did you mean 'len'\?\)"),
        ({"overlong_buffer_cfg": {"enable": "yes please"}}, r"overlong_buffer_cfg\.enable: expected bool, got str"),
        ({"overlong_buffer_cfg": 3}, "overlong_buffer_cfg must be a mapping of options, got 3"),
        ({"overlong_buffer_cfg": {"enable": True, "len": 10}}, "max_resp_len"),
        ({"overlong_buffer_cfg": {"enable": True, "len": 10}, "max_resp_len": 5}, "max_resp_len"),
        (
            {"routes": {"a": "maths"}},
            r"reward_kwargs\.routes\[a\]: unknown verifier 'maths' \(did you mean 'math'\?\); installed are: .*",
        ),
        ({"routes": ["a"]}, r"reward\.reward_kwargs\.routes: expected mapping, got list: \['a'\]"),
        ({"routes": {"a": 3}}, r"routes\[a\] must be a verifier's name or a mapping"),
        ({"routes": {"a": {"method": "strict"}}}, r"routes\[a\] must be a verifier's name or a mapping"),
        ({"default_verifier": 3}, "default_verifier must be a verifier's name"),
        (
            {"default_verifier": {"verifier": "math", "judge": "jugde"}},
            r"default_verifier\.judge: unknown verifier 'jugde'",
        ),
        (
            {"default_verifier": {"verifier": "math", "judge": "sandbox_fusion"}},
            r"judge must be a verifier that runs in",
        ),
        (
            {"default_verifier": {"verifier": "math", "judge": {"verifier": "math", "judge": "math"}}},
            r"judge must be a verifier that .* has no judge itself",
        ),
    ],
)
def test_an_unusable_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        VerifierConfig.from_reward_kwargs(OmegaConf.create(options))


def test_routes_of_the_configuration_come_first_and_the_first_match_wins():
    config = VerifierConfig.from_reward_kwargs(
        {"routes": {"aime24": {"verifier": "gsm8k", "method": "strict"}, "a*": "choice"}}
    )
    assert config.router.find("aime24") == Route("gsm8k", {"method": "strict"})
    assert config.router.find("aime25") == Route("choice")
    assert config.router.find("math_dapo") == Route("math")
    assert config.router.find("reasoning_gym/maze") == Route("reasoning_gym")


def test_a_source_that_nothing_claims_is_an_error_unless_there_is_a_default():
    with pytest.raises(ValueError, match="no verifier claims the data source 'x/y'"):
        VerifierConfig().router.find("x/y")
    assert VerifierConfig(default_verifier="math").router.find("x/y") == Route("math")


@pytest.mark.parametrize("source", ["my_org/algebra-1.0", "plain", "", "with space", "a:b", "{odd}", "ünï"])
@pytest.mark.parametrize(("package", "name"), [("verl.trainer.config", "ppo_trainer"), ("verl_maxpo.config", "gsm8k")])
def test_advice_can_be_pasted(source, package, name):
    """Into the command line of verl's own configuration, which declares no options, and of ours."""
    with pytest.raises(ValueError, match="no verifier claims the data source") as error:
        VerifierConfig().router.find(source)
    advice = [word for word in shlex.split(str(error.value).partition(": set ")[2]) if word != "or"]
    assert len(advice) == 1 + (source in ("my_org/algebra-1.0", "plain"))
    for option in advice:
        config = composed(name, option, package=package)
        read = VerifierConfig.from_reward_kwargs(config.reward.reward_kwargs)
        assert read.router.find(source) == Route("math")


def test_routes_of_sources():
    router = VerifierConfig(default_verifier={"verifier": "choice", "judge": {"verifier": "math", "x": 1}}).router
    judged = Route("choice", judge=Route("math", {"x": 1}))
    assert router.in_child_processes(["x", "aime24", "y"]) == [judged, Route("math", {"x": 1}), Route("math")]
    assert router.in_child_processes(["openai/gsm8k", "aime24", "apps", "amc23"]) == [Route("gsm8k"), Route("math")]
    everything = {*DEFAULT_ROUTES.values(), "choice"} - {SANDBOX_FUSION}
    assert {route.verifier for route in router.in_child_processes()} == everything


def test_every_registered_verifier_loads():
    assert {"math", "gsm8k", "choice", "countdown", "reasoning_gym", "verl", "python_function"} <= set(verifier_names())
    for name in set(verifier_names()) - {"verl"}:  # imports verl
        assert callable(load_verifier(name))
        assert find_verifier(name).module.startswith("verl_maxpo.rewards.verifiers.")


def test_overlong_buffer_has_verls_option_names():
    config = VerifierConfig.from_reward_kwargs({"max_resp_len": 20, "overlong_buffer_cfg": {"enable": True, "len": 4}})
    assert config.overlong_buffer_cfg == OverlongBuffer(enable=True, len=4, penalty_factor=1.0, log=False)


@pytest.mark.parametrize("name", [name for name in verifier_names() if name != "python_function"])
def test_verifiers_of_our_own_share_a_process(name: str) -> None:
    """One for each response would cost more than most verdicts."""
    module = importlib.import_module(find_verifier(name).module)
    assert module.keeps_state is False
