"""Options, routes and the check of a run's data sources before it starts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from verl_maxpo.rewards.config import OverlongBuffer, VerifierConfig
from verl_maxpo.rewards.registry import find_verifier, load_verifier, verifier_names
from verl_maxpo.rewards.routing import DEFAULT_ROUTES, SANDBOX_FUSION, Route


def test_the_shipped_node_has_exactly_the_options_and_their_defaults():
    with initialize_config_module("verl_maxpo.config", version_base=None):
        node = compose("verifier", overrides=["+data.max_response_length=7"]).reward.reward_kwargs
    shipped = VerifierConfig.of(node)
    assert shipped == VerifierConfig(max_resp_len=7)
    assert set(node) == set(VerifierConfig.__dataclass_fields__) - {"data_sources"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, r"reward\.reward_kwargs\.timeout must be a positive number of seconds, got 0"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"memory_limit_mb": 1}, "memory_limit_mb must be at least 64 MiB, got 1"),
        ({"max_response_chars": 0}, "max_response_chars"),
        ({"score_range": [1, 0]}, "score_range must be two finite numbers, the lower first"),
        ({"score_range": [1]}, "score_range"),
        ({"crash_score": float("inf")}, "crash_score must be a finite number"),
        ({"tiemout": 1}, r"reward\.reward_kwargs has no option tiemout; its options are routes, "),
        ({"overlong_buffer_cfg": {"lenn": 1}}, r"overlong_buffer_cfg has no option lenn"),
        ({"overlong_buffer_cfg": {"enable": True, "len": 10}}, "max_resp_len"),
        ({"overlong_buffer_cfg": {"enable": True, "len": 10}, "max_resp_len": 5}, "max_resp_len"),
        (
            {"routes": {"a": "maths"}},
            r"reward\.reward_kwargs\.routes\[a\]: unknown verifier 'maths'; installed are: .*gsm8k",
        ),
        ({"routes": {"a": {"method": "strict"}}}, r"routes\[a\] must be a verifier's name or a mapping"),
        ({"default_verifier": 3}, "default_verifier must be a verifier's name"),
    ],
)
def test_an_unusable_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        VerifierConfig.of(OmegaConf.create(options))


def test_routes_of_the_configuration_come_first_and_the_first_match_wins():
    config = VerifierConfig.of({"routes": {"aime24": {"verifier": "gsm8k", "method": "strict"}, "a*": "choice"}})
    assert config.router.find("aime24") == Route("gsm8k", {"method": "strict"})
    assert config.router.find("aime25") == Route("choice")
    assert config.router.find("math_dapo") == Route("math")
    assert config.router.find("reasoning_gym/maze") == Route("reasoning_gym")


def test_a_source_that_nothing_claims_is_an_error_unless_there_is_a_default():
    with pytest.raises(ValueError, match=r"no verifier claims the data source 'x/y': add it to reward\.reward_kwargs"):
        VerifierConfig().router.find("x/y")
    assert VerifierConfig(default_verifier="math").router.find("x/y") == Route("math")


def test_routes_of_sources():
    router = VerifierConfig(default_verifier="choice").router
    assert router.in_child_processes(["openai/gsm8k", "aime24", "apps", "amc23"]) == [Route("gsm8k"), Route("math")]
    everything = {*DEFAULT_ROUTES.values(), "choice"} - {SANDBOX_FUSION}
    assert {route.verifier for route in router.in_child_processes()} == everything


def test_every_registered_verifier_loads():
    assert {"math", "gsm8k", "choice", "countdown", "reasoning_gym", "verl", "python_function"} <= set(verifier_names())
    for name in set(verifier_names()) - {"verl"}:  # imports verl
        assert callable(load_verifier(name))
        assert find_verifier(name).module.startswith("verl_maxpo.rewards.verifiers.")


def test_overlong_buffer_has_verls_option_names():
    config = VerifierConfig.of({"max_resp_len": 20, "overlong_buffer_cfg": {"enable": True, "len": 4}})
    assert config.overlong_buffer_cfg == OverlongBuffer(enable=True, len=4, penalty_factor=1.0, log=False)


@pytest.fixture
def run_config(tmp_path):
    """A run's configuration, with data files of the given sources."""

    def write(name, sources):
        path = tmp_path / name
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"data_source": sources, "prompt": ["x"] * len(sources)}), path)
        else:
            path.write_text("".join(json.dumps({"data_source": source}) + "\n" for source in sources))
        return str(path)

    def make(train, validation, **reward):
        files = {"train_files": write("train.parquet", train), "val_files": [write("val.jsonl", validation)]}
        reward = {"reward_manager": {"name": "verifier"}, **reward}
        return OmegaConf.create({"data": files, "reward": reward})

    return make


def test_the_reward_workers_are_told_the_data_sources(run_config):
    from verl_maxpo.rewards.adapters.startup import expect_data_sources

    config = run_config(["openai/gsm8k"] * 3, ["aime24", "aime25"])
    expect_data_sources(config)
    assert VerifierConfig.of(config.reward.reward_kwargs).data_sources == ("aime24", "aime25", "openai/gsm8k")


@pytest.mark.parametrize(
    ("sources", "reward", "message"),
    [
        (["nobody"], {}, "no verifier claims the data source 'nobody'"),
        (["apps"], {}, r"are programs, which run in a sandbox service only: set reward\.sandbox_fusion\.url"),
        (["aime24"], {"reward_kwargs": {"timeout": -1}}, "timeout must be"),
        (
            ["aime24"],
            {"custom_reward_function": {"path": "my.py", "name": "f"}},
            "python_function, path: my.py, name: f",
        ),
    ],
)
def test_what_would_fail_later_fails_before_training(run_config, sources, reward, message):
    from verl_maxpo.rewards.adapters.startup import expect_data_sources

    with pytest.raises(ValueError, match=message):
        expect_data_sources(run_config(["aime24"], sources, **reward))


def test_files_that_cannot_be_read_here_are_left_to_the_workers(run_config, caplog):
    from verl_maxpo.rewards.adapters.startup import expect_data_sources

    config = run_config(["aime24"], ["aime25"])
    config.data.train_files = "hdfs://host/train.parquet"
    expect_data_sources(config)
    assert config.reward.reward_kwargs.data_sources is None
    assert "hdfs://host/train.parquet is no local parquet or JSON file" in caplog.text
