"""The reward manager as verl builds and calls it, and as a custom reward function."""

import asyncio
import os
import signal
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import NonTensorData, NonTensorStack, TensorDict

pytest.importorskip("verl")
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.trainer.ppo.reward import load_reward_manager

from verl_maxpo.rewards.adapters import custom_reward_function, registration
from verl_maxpo.rewards.adapters.verdicts import FIRST_RESPONSES, NoVerdictError, watch_verdicts
from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.verifiers.scores import to_result

TEXTS = {"status", "reason", "answer", "data_source"}
KEYS = {"acc", *TEXTS}


class Tokenizer:
    """One token for each character."""

    pad_token_id = 0

    def decode(self, tokens, skip_special_tokens):
        return "".join(chr(token) for token in tokens.tolist())


def batch(*rows, length=40):
    """A batch of (response, ground truth), padded on the right."""
    responses, masks = (
        torch.zeros(len(rows), length, dtype=torch.long),
        torch.ones(len(rows), length + 2, dtype=torch.long),
    )
    for i, (response, _) in enumerate(rows):
        responses[i, : len(response)] = torch.tensor([ord(char) for char in response])
        masks[i, 2 + len(response) :] = 0
    tensors = {"prompts": torch.ones(len(rows), 2), "responses": responses, "attention_mask": masks}
    columns = {
        "data_source": np.array(["openai/gsm8k"] * len(rows), dtype=object),
        "reward_model": np.array([{"ground_truth": gold, "style": "rule"} for _, gold in rows], dtype=object),
        "extra_info": np.array([{"index": i} for i in range(len(rows))], dtype=object),
    }
    return DataProto(TensorDict(tensors, batch_size=len(rows)), columns)


ROWS = [("so #### 72", "72"), ("#### 71", "72"), ("no idea", "72"), ("", "72")]


def manager(transfer_queue=None, **options):
    reward = {
        "reward_manager": {"source": "register", "name": "verifier"},
        "custom_reward_function": {"path": None},
        "reward_kwargs": {"data_sources": ["openai/gsm8k"], **options},
    }
    config = {"reward": reward, "transfer_queue": transfer_queue or {}}
    return load_reward_manager(OmegaConf.create(config), Tokenizer())


def score(manager, *rows):
    data = batch(*rows)

    async def gather():
        return await asyncio.gather(*(manager.run_single(data[i : i + 1]) for i in range(len(data))))

    manager.loop = asyncio.new_event_loop()
    return manager.loop.run_until_complete(gather())


def test_rewards_and_extra_information():
    results = score(manager(), *ROWS)
    assert [result["reward_score"] for result in results] == [1.0, 0.0, 0.0, 0.0]
    infos = [result["reward_extra_info"] for result in results]
    assert [info["acc"] for info in infos] == [1.0, 0.0, 0.0, 0.0]
    assert [info["answer"] for info in infos] == ["72", "71", "", ""]
    assert [info["status"] for info in infos] == ["ok", "ok", "no_answer", "no_answer"]
    for info in infos:
        assert set(info) == KEYS
        assert {name for name, value in info.items() if type(value) is str} == TEXTS
        assert (info["reason"] == "") == (info["status"] == "ok")


def test_mapping_of_scores_and_format_bonus():
    results = score(manager(score_range=[-1, 1], format_bonus=0.25), *ROWS)
    assert [result["reward_score"] for result in results] == [1.25, -0.75, -1.0, -1.0]
    assert [result["reward_extra_info"]["acc"] for result in results] == [1.0, 0.0, 0.0, 0.0]


def test_only_the_last_row_of_a_session_is_scored():
    data = batch(("#### 72", "72"), ("#### 71", "72"))
    reward_manager = manager()
    reward_manager.loop = asyncio.new_event_loop()
    assert reward_manager.loop.run_until_complete(reward_manager.run_single(data))["reward_score"] == 0.0


def test_the_end_of_a_long_response_is_what_counts():
    results = score(manager(max_response_chars=8), ("#### 1 and then #### 72", "72"), ("#### 72 is not the end", "72"))
    assert [result["reward_score"] for result in results] == [1.0, 0.0]


def test_overlong_responses_pay_as_in_verls_dapo_manager():
    """verl's own code is the reference, but for its reward function."""
    rows = [("#### 72", "72"), ("x" * 10 + "#### 72", "72"), ("x" * 33 + "#### 72", "72"), ("y" * 35, "72")]
    options = {
        "max_resp_len": 40,
        "overlong_buffer_cfg": {"enable": True, "len": 30, "penalty_factor": 0.5, "log": True},
    }
    ours = score(manager(**options), *rows)
    config = OmegaConf.create({"reward": {"reward_kwargs": options}})
    dapo = get_reward_manager_cls("dapo")(config, Tokenizer(), lambda solution_str, **_: float("72" in solution_str))
    theirs = score(dapo, *rows)
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine["reward_score"] == pytest.approx(float(reference["reward_score"]))
        for key in ("overlong_reward", "overlong"):
            assert mine["reward_extra_info"][key] == pytest.approx(float(reference["reward_extra_info"][key]))


def toy_manager(**options):
    from support import toy_reward

    route = {"verifier": "python_function", "path": toy_reward.__file__, "name": "compute_score"}
    return manager(routes={"openai/gsm8k": route}, timeout=1.0, **options)


def test_a_response_without_a_verdict_never_pays_and_says_why(caplog):
    results = score(toy_manager(score_range=[-1, 1]), ("1", "1"), ("spin", "1"), ("raise", "1"))
    assert [result["reward_score"] for result in results] == [1.0, -1.0, -1.0]
    infos = [result["reward_extra_info"] for result in results]
    assert [info["status"] for info in infos] == ["ok", "timeout", "crash"]
    assert infos[0]["reason"] == ""
    assert "stopped after 1 s" in infos[1]["reason"]
    assert "ZeroDivisionError" in infos[2]["reason"]
    assert "1 response(s) so far without a verdict, status timeout; the last is of openai/gsm8k" in caplog.text
    assert "status crash; the last is of openai/gsm8k: ZeroDivisionError: division by zero" in caplog.text


def test_a_custom_reward_function_is_not_ignored_in_silence():
    config = OmegaConf.create({"reward": {"custom_reward_function": {"path": "my.py", "name": "f"}}})
    with pytest.raises(ValueError, match=r"custom_reward_function\.path=my\.py is not used"):
        get_reward_manager_cls("verifier")(config, Tokenizer(), None)


def test_an_unknown_data_source_stops_instead_of_scoring_zero():
    data = batch(("1", "1"))
    data.non_tensor_batch["data_source"][:] = "nobody"
    reward_manager = manager(data_sources=None)
    reward_manager.loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="no verifier claims the data source 'nobody'"):
        reward_manager.loop.run_until_complete(reward_manager.run_single(data))


def test_as_a_custom_reward_function_of_the_naive_manager():
    reward = {
        "reward_manager": {"source": "register", "name": "naive"},
        "custom_reward_function": {
            "path": "pkg://verl_maxpo.rewards.adapters.custom_reward_function",
            "name": "compute_score",
            "reward_kwargs": {"format_bonus": 0.5, "data_sources": ["openai/gsm8k"]},
        },
    }
    naive = load_reward_manager(OmegaConf.create({"reward": reward}), Tokenizer())
    results = score(naive, *ROWS)
    assert [result["reward_score"] for result in results] == [1.5, 0.5, 0.0, 0.0]
    assert set(results[0]["reward_extra_info"]) == {"score", *KEYS}


@pytest.mark.parametrize("in_v1", [True, False])
def test_values_of_a_source_are_columns_in_verls_v1_trainer(in_v1):
    """Others of verl's trainers read the names of the columns off the first sample."""
    from support import toy_reward

    route = {"verifier": "python_function", "path": toy_reward.__file__, "name": "judged"}
    options = {"routes": {"openai/gsm8k": route}, "timeout": 1.0}
    loaded = manager(transfer_queue={"enable": in_v1}, **options)
    infos = [result["reward_extra_info"] for result in run_of("spin", "1", "spin", "other", "1", loaded=loaded)]
    found = [{name: info[name] for name in info.keys() - KEYS} for info in infos]
    assert found == ([{}, {"judge": 0.5}, {"judge": None}, {"judge": None}, {"judge": 0.5}] if in_v1 else [{}] * 5)
    assert [info["status"] for info in infos] == ["timeout", "ok", "timeout", "crash", "ok"]
    assert "the same values, got grade, and before that judge" in infos[3]["reason"]


def test_a_judge_scores_beside_the_verifier():
    """In a child process of its own; a judge that fails has no score, and says so."""
    from support import toy_reward

    judge = {"verifier": "python_function", "path": toy_reward.__file__, "name": "length"}
    loaded = manager(
        transfer_queue={"enable": True}, timeout=1.0, routes={"openai/gsm8k": {"verifier": "gsm8k", "judge": judge}}
    )
    results = run_of("#### 1", "so #### 1", "no idea", "", "#### 2", loaded=loaded)
    assert [result["reward_score"] for result in results] == [1.0, 1.0, 0.0, 0.0, 0.0]
    infos = [result["reward_extra_info"] for result in results]
    assert [info["judge"] for info in infos] == [0.6, 0.9, 0.7, None, 0.6]
    assert "no verdict of the judge: crash, ZeroDivisionError" in infos[3]["reason"]
    assert all(set(info) == {"judge", *KEYS} for info in infos)


@pytest.mark.parametrize(
    ("value", "reported"),
    [(np.float32(0.5), 0.5), (3, 3.0), (True, 1.0), ("a text", "a text"), (None, None)],
)
def test_values_of_a_function_are_numbers_and_texts(value, reported):
    assert to_result({"score": 1, "judge": value}, (0, 1)).values == {"judge": reported}


@pytest.mark.parametrize("value", [float("nan"), [1.0], {"a": 1}, np.array([1.0, 2.0])])
def test_other_values_of_a_function_are_errors(value):
    with pytest.raises(ValueError, match="judge must be a finite number, a text or None, got"):
        to_result({"score": 1, "judge": value}, (0, 1))


def test_one_pool_for_all_calls_of_the_custom_reward_function():
    assert custom_reward_function._scorer('{"timeout": 3}') is custom_reward_function._scorer('{"timeout": 3}')


def test_a_taken_name_leaves_verl_working(monkeypatch, caplog):
    def taken(name):
        raise ValueError("reward manager verifier has already been registered")

    monkeypatch.setattr(registration.importlib, "import_module", taken)
    registration.register_manager(None)
    assert "reward.reward_manager.name=verifier is not available" in caplog.text


def run_of(*responses, loaded=None, **columns):
    """Score responses one after the other with the toy's manager; columns are further ones of the batch."""
    reward_manager = loaded or toy_manager()
    data = batch(*((response, "1") for response in responses))
    data.non_tensor_batch.update({name: np.array(values, dtype=object) for name, values in columns.items()})
    loop = reward_manager.loop = asyncio.new_event_loop()
    return [loop.run_until_complete(reward_manager.run_single(data[i : i + 1])) for i in range(len(data))]


def test_what_is_refused_has_a_reason_and_a_warning(caplog):
    write, right = (result["reward_extra_info"] for result in run_of("write", "1"))
    assert "tried what it may not do: open" in write["reason"]
    assert right["reason"] == ""
    assert "1 response(s) so far " in caplog.text


def test_a_function_gets_what_verl_passes_to_its_own():
    """verl's naive manager is the reference."""
    from support import toy_reward

    columns = {
        "__num_turns__": [np.int64(3)],
        "reward_scores": [{"user_turn": 0.5}],
        "tool_extra_fields": [{"tool": "python"}],
    }
    seen = []
    naive = get_reward_manager_cls("naive")(
        OmegaConf.create({}), Tokenizer(), lambda extra_info, **_: seen.append(extra_info) or 0.0
    )
    run_of("1", loaded=naive, **columns)
    expected = toy_reward.as_text({**seen[0], "data_source": "openai/gsm8k"})
    assert "'num_turns': 3" in expected
    route = {"verifier": "python_function", "path": toy_reward.__file__, "name": "echo_extra_info"}
    ours = run_of("1", loaded=manager(routes={"openai/gsm8k": route}), **columns)
    assert ours[0]["reward_extra_info"]["answer"] == expected


def test_the_data_source_is_in_the_column_that_verl_names():
    reward = {"reward_manager": {"source": "register", "name": "verifier"}}
    config = OmegaConf.create({"reward": reward, "data": {"reward_fn_key": "origin"}})
    loaded = load_reward_manager(config, Tokenizer())
    assert run_of("#### 1", loaded=loaded, origin=["openai/gsm8k"])[0]["reward_score"] == 1.0


def test_a_run_without_any_verdict_stops_with_the_cause():
    """Outside verl's V1 trainer by an error of the reward worker, which stops those."""
    broken = toy_manager()
    with pytest.raises(NoVerdictError, match=r"first 64 responses all .* openai/gsm8k: ZeroDivisionError"):
        run_of(*["raise"] * FIRST_RESPONSES, loaded=broken)
    with pytest.raises(NoVerdictError):
        run_of("raise", loaded=broken)
    assert run_of("1", "raise", loaded=broken)[1]["reward_extra_info"]["status"] == "crash"


class Trainer:
    """The two methods of verl's V1 trainer that see what the reward manager reports."""

    config = OmegaConf.create({"reward": {"reward_manager": {"name": "verifier"}}})

    def _compute_advantage(self, batch, metrics):
        return "advantages"

    def _val_metrics_update(
        self, data_sources, sample_uids, reward_extra_infos_dict, sample_turns, expected_acc_counts=None
    ):
        return {"val-core/apps/reward/mean@1": 1.0}


def reported(*statuses):
    """The columns of the reward manager for a validation; None for a session that failed."""
    known = {"data_source": "apps", "reason": "no service"}
    columns = {name: [None if status is None else value for status in statuses] for name, value in known.items()}
    return {"status": list(statuses), **columns}


@pytest.fixture
def hooked():
    """A trainer of its own class under the hook."""
    module = types.ModuleType("verl.trainer.ppo.v1.trainer_base")
    module.PPOTrainer = type("PPOTrainer", (), dict(vars(Trainer)))
    watch_verdicts(module)
    return module.PPOTrainer()


def validate(hooked, *statuses):
    sources = ["apps" if i % 2 else "taco" for i in range(len(statuses))]
    return hooked._val_metrics_update(sources, [], reward_extra_infos_dict=reported(*statuses), sample_turns=[])


def test_verls_v1_trainer_stops_in_validation(hooked):
    validate(hooked, *["timeout"] * 40)
    with pytest.raises(NoVerdictError, match=r"first 64 responses .* apps: no service"):
        validate(hooked, *["crash"] * 40)


def shares(prefix, **given):
    return {f"{prefix}/{status.value}": given.get(status.value, 0.0) for status in Status}


def test_validation_logs_the_share_of_each_status_of_a_source(hooked):
    metrics = validate(hooked, "ok", "no_answer", "ok", "timeout", "crash", None, "ok", None)
    expected = shares("val-aux/taco/status", ok=0.75, crash=0.25)
    expected |= shares("val-aux/apps/status", no_answer=0.5, timeout=0.5)
    assert metrics == {"val-core/apps/reward/mean@1": 1.0} | expected


@pytest.mark.parametrize("columns", [{}, {"status": []}, {"status": ["fine"], "reason": [""], "data_source": ["a"]}])
def test_other_reward_managers_have_no_statuses(hooked, columns):
    assert hooked._val_metrics_update(["a"], [], columns, []) == {"val-core/apps/reward/mean@1": 1.0}


def trained(hooked, monkeypatch, rows, kind=list):
    """Compute the advantages of a step whose rows, by key, have these statuses; None is padding."""
    import transfer_queue

    infos = [{"reward_extra_info": {k: v[0] for k, v in reported(status).items()}} for status in rows.values()]
    extra_fields = kind([info if status else {} for info, status in zip(infos, rows.values(), strict=True)])
    monkeypatch.setattr(transfer_queue, "kv_batch_get", lambda **_: {"extra_fields": extra_fields})
    metrics = {}
    step = types.SimpleNamespace(keys=list(rows), partition_id="train")
    assert hooked._compute_advantage(step, metrics=metrics) == "advantages"
    return metrics


KINDS = [list, lambda rows: NonTensorStack(*map(NonTensorData, rows))]


@pytest.mark.parametrize("kind", KINDS)
def test_verls_v1_trainer_stops_in_training_unless_there_was_a_verdict(hooked, monkeypatch, kind):
    """The queue returns a column as a list or as a stack of tensordict's, by its backend."""
    rows = {f"a_{i}_0": "crash" for i in range(64)} | {"pad_0_0": None}
    with pytest.raises(NoVerdictError, match="no service"):
        trained(hooked, monkeypatch, rows, kind)
    validate(hooked, "ok")
    assert trained(hooked, monkeypatch, rows, kind) == shares("rewards/status", crash=1.0)


def test_training_logs_the_share_of_each_status_by_session(hooked, monkeypatch):
    rows = {"a_0_0": "ok", "a_1_0": "crash", "a_1_1": "crash", "a_1_2": "crash", "b_0_0": "ok", "b_1_0": "refused"}
    expected = shares("rewards/status", ok=0.5, crash=0.25, refused=0.25)
    assert trained(hooked, monkeypatch, rows | {"pad_0_0": None}) == expected
    hooked.config = OmegaConf.create({"reward": {"reward_manager": {"name": "naive"}}})
    assert trained(hooked, monkeypatch, rows) == {}


def test_a_changed_trainer_of_verl_is_a_warning(caplog):
    module = types.ModuleType("verl.changed")
    module.PPOTrainer = type("PPOTrainer", (), {"_compute_advantage": lambda self, everything: None})
    watch_verdicts(module)
    assert "verl has changed" in caplog.text


@pytest.mark.slow
def test_a_killed_reward_worker_is_an_error_and_leaves_no_process():
    """verl's own reward loop worker as a Ray actor; what waits for it gets Ray's error, never a zero."""
    import psutil
    import ray

    here = Path(__file__).parent  # the actor imports this file and what it imports
    path = f"{here}:{here.parent}:{os.environ.get('PYTHONPATH', '')}"
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    try:

        @ray.remote
        class Worker:
            def __init__(self):
                self.manager = toy_manager()

            def pid(self):
                return os.getpid()

            async def score(self, *rows):
                data = batch(*rows)
                return await asyncio.gather(*(self.manager.run_single(data[i : i + 1]) for i in range(len(data))))

        worker = Worker.remote()
        assert ray.get(worker.score.remote(("1", "1")))[0]["reward_score"] == 1.0
        pid = ray.get(worker.pid.remote())
        children = psutil.Process(pid).children(recursive=True)
        assert children
        pending = worker.score.remote(*[("spin", "1")] * 50)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(pending)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    finally:
        ray.shutdown()
