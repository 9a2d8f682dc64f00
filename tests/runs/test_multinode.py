"""Several nodes: the scripts of examples/multinode, and real training on a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from support import recipes
from support.stand_ins import StandIns

from verl_maxpo import doctor
from verl_maxpo.cli import main

MULTINODE = recipes.EXAMPLES / "multinode"
GSM8K = recipes.SCRIPTS["gsm8k"]
BATCH, STEPS, N = 4, 6, 4
OVERRIDES = [
    *(override for override in recipes.CPU_OVERRIDES if not override.startswith(("+platform", "trainer."))),
    *("+platform=cpu_cluster", "trainer.val_before_train=false", "trainer.test_freq=-1", "trainer.save_freq=2"),
]


# ---- without a cluster ----


#: ``ray job submit`` runs the job at once.
SUBMIT = '[ "$1 $2" != "job submit" ] || exec env -i PATH="$PATH" FAIL="${FAIL:-}" "${@:6}"'


@pytest.fixture
def machine(tmp_path: Path) -> StandIns:
    """Return a folder with a run script, on a machine with a Ray cluster."""
    (tmp_path / "run.sh").write_text(
        f'set -u\nMODEL=m\nsource {recipes.EXAMPLES}/common.sh\nexec python train "N=$N" "OUT=$OUT" "$PWD" "$@"\n'
    )
    return StandIns(tmp_path, ray=SUBMIT, python="")


def test_a_job_looks_at_the_nodes_then_runs_the_script(machine: StandIns, tmp_path: Path) -> None:
    settings = {"NNODES": "3", "GPUS": "4", "N": "6", "OUT": "a b"}
    calls = machine.succeed(MULTINODE / "submit.sh", "run.sh", "some=[1, 8]", "other='$x'", **settings)
    check, train = (call.arguments for call in calls if call.program == "python")
    assert check == ["-m", "verl_maxpo", "doctor", "--nodes", "3", "--gpus", "4", "--wait", "60"]
    overrides = ["trainer.nnodes=3", "trainer.n_gpus_per_node=4", "some=[1, 8]", "other='$x'"]
    assert train == ["train", "N=6", f"OUT={tmp_path}/a b", str(tmp_path), *overrides]


def test_a_job_does_not_train_where_the_doctor_objects(machine: StandIns) -> None:
    result = machine.run(MULTINODE / "submit.sh", "run.sh", FAIL="verl_maxpo doctor")
    assert result.returncode == 1
    assert "The same command goes on from the last checkpoint" in result.stderr
    assert len([call for call in machine.calls if call.program == "python"]) == 1


def test_without_a_cluster_the_error_says_how_to_start_one(machine: StandIns) -> None:
    result = machine.run(
        MULTINODE / "submit.sh", "run.sh", RAY_ADDRESS="http://h:1", FAIL="job list --address http://h:1"
    )
    assert result.returncode == 1
    assert "no Ray cluster answers at RAY_ADDRESS=http://h:1" in result.stderr
    assert "start one with examples/multinode/ray_node.sh" in result.stderr


def test_run_script_that_is_not_there(machine: StandIns) -> None:
    assert "no such run script: nothing.sh" in machine.run(MULTINODE / "submit.sh", "nothing.sh").stderr
    assert "usage: submit.sh RUN_SCRIPT" in machine.run(MULTINODE / "submit.sh").stderr


@pytest.mark.parametrize("arguments", [[], ["worker"], ["worker", "10.0.0.1"], ["tail"]])
def test_node_without_a_place(machine: StandIns, arguments: list[str]) -> None:
    result = machine.run(MULTINODE / "ray_node.sh", *arguments)
    assert result.returncode == 2
    assert "usage: ray_node.sh head" in result.stderr


def test_node_without_the_plugin_does_not_join(machine: StandIns) -> None:
    assert machine.run(MULTINODE / "ray_node.sh", "worker", "10.0.0.1:6379").returncode == 0
    assert (
        machine.run(MULTINODE / "ray_node.sh", "worker", "10.0.0.1:6379", FAIL="verl_maxpo doctor --no-ray").returncode
        == 1
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Let the doctor sleep without waiting."""
    now = [0.0]
    monkeypatch.setattr(doctor.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(doctor.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return lambda: now[0]


def test_doctor_waits_for_nodes_and_gpus(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    ready = [("10.0.0.1", 8.0), ("10.0.0.2", 8.0)]
    states = iter([ready[:1], [("10.0.0.1", 0.0), ready[1]], ready])
    monkeypatch.setattr(doctor, "_free_gpus_of_nodes", lambda: next(states))
    finding = doctor._free_gpus(nodes=2, gpus=8, wait=60)
    assert (finding.level, clock()) == ("ok", 2)
    assert finding.text == "Ray's nodes and their free GPUs: 10.0.0.1 with 8, 10.0.0.2 with 8"


@pytest.mark.parametrize(
    ("found", "there"),
    [([("a", 8.0)], "found 1 in 5 s: a with 8"), ([("a", 8.0), ("b", 7.0)], "found 2 in 5 s: a with 8, b with 7")],
)
def test_doctor_names_nodes_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float], found: list[tuple[str, float]], there: str
) -> None:
    monkeypatch.setattr(doctor, "_free_gpus_of_nodes", lambda: found)
    finding = doctor._free_gpus(nodes=2, gpus=8, wait=5)
    assert (finding.level, clock()) == ("fail", 5)
    assert finding.text == f"2 nodes with 8 free GPUs each are needed, {there}"
    assert "lower NNODES or GPUS" in finding.fix


# ---- two nodes ----


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """Two nodes with addresses, ports, temporary folders and a token of their own, each with one GPU slot."""

    def __init__(self, folder: Path) -> None:
        gcs, dashboard, client, *agents = free_ports(5)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.environment = {**os.environ, **recipes.CPU_ENVIRONMENT, **path, **token}
        self.environment.pop("RAY_ADDRESS", None)
        self.settings = {"RAY_ADDRESS": f"http://127.0.0.1:{dashboard}", "NNODES": "2", "GPUS": "1"}
        head = ["head", f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        self.logs = [folder / "head.log", folder / "worker.log"]
        self.nodes = [
            self._start(self.logs[0], "127.0.0.2", agents[0], *head),
            self._start(self.logs[1], "127.0.0.3", agents[1], "worker", f"127.0.0.2:{gcs}"),
        ]

    def _start(self, log: Path, address: str, agent: int, *arguments: str) -> psutil.Popen:
        options = [
            *("--block", f"--node-ip-address={address}", f"--temp-dir={log.with_suffix('')}"),
            *("--num-cpus=16", "--num-gpus=1", "--object-store-memory=300000000"),
            *(f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0"),
        ]
        command = [MULTINODE / "ray_node.sh", *arguments, *options]
        with log.open("w") as output:
            return psutil.Popen(command, env=self.environment, stdout=output, stderr=output)

    def wait(self) -> None:
        """Wait until both nodes are there."""
        for node, log in zip(self.nodes, self.logs, strict=True):
            wait_for(lambda log=log: "Ray runtime started" in log.read_text(), node, log)

    def processes(self, name: str) -> list[list[psutil.Process]]:
        """Return the processes of each node that have a text in their command line."""
        return [[each for each in tree(node) if name in command_of(each)] for node in self.nodes]

    def submit(self, folder: Path, *overrides: str, **settings: str) -> psutil.Popen:
        """Submit the recipe from a folder, with the log in ``submit.log`` there."""
        with (folder / "submit.log").open("w") as log:
            return psutil.Popen(
                [MULTINODE / "submit.sh", GSM8K, *OVERRIDES, *overrides],
                env={**self.environment, **self.settings, **settings}, cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> list[psutil.Process]:
        """End the nodes; what is left of them 30 s later is killed, and returned."""
        processes = [process for node in self.nodes for process in (node, *tree(node))]
        for node in reversed(self.nodes):
            node.terminate()
        _, left = psutil.wait_procs(processes, timeout=30)
        for process in left:
            process.kill()
        return left


def wait_for(condition: Callable[[], bool], job: psutil.Popen, log: Path, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, log.read_text()[-5000:]
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.1)


def tree(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def command_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # short: a socket's path has 107 characters at most
        cluster = Cluster(Path(folder))
        try:
            cluster.wait()
            yield cluster
        finally:
            left = cluster.stop()
    assert not left


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, kill the driver after a checkpoint, and submit again; ``before`` holds the rollouts of the first job."""
    folder = tmp_path_factory.mktemp("run")
    recipes.make_model(folder / "model")
    samples = [f"{split}={recipes.SAMPLES}/gsm8k_{split}.jsonl" for split in ("train", "test")]
    assert main(["prepare", "gsm8k", "--local", *samples, "--out", f"{folder}/outputs/data/gsm8k"]) == 0
    rollouts = folder / "rollouts"
    settings = {"MODEL": str(folder / "model"), "K": "2", "N": str(N), "STEPS": str(STEPS), "CHECK": "false"}

    first = cluster.submit(folder, f"trainer.rollout_data_dir={rollouts}", **settings)
    wait_for((rollouts / "1.jsonl").exists, first, folder / "submit.log")
    # One actor and one vLLM on each node.
    assert [len(workers) for workers in cluster.processes("ray::WorkerDict")] == [1, 1]
    assert [len(servers) for servers in cluster.processes("ray::vLLMHttpServer")] == [1, 1]
    (driver,) = (each for node in cluster.processes("-m verl.trainer.main_ppo") for each in node)
    wait_for((rollouts / "3.jsonl").exists, first, folder / "submit.log")
    driver.kill()
    assert first.wait(300) == 1
    assert "The same command goes on from the last checkpoint" in (folder / "submit.log").read_text()
    gone = time.monotonic() + 300
    while any(cluster.processes("ray::TaskRunner")):
        assert time.monotonic() < gone
        time.sleep(0.2)
    rollouts.rename(folder / "before")
    (folder / "checkpoint").write_text((checkpoints_of(folder) / "latest_checkpointed_iteration.txt").read_text())

    second = cluster.submit(folder, f"trainer.rollout_data_dir={rollouts}", **settings)
    assert second.wait(900) == 0, (folder / "submit.log").read_text()[-5000:]
    return folder


def checkpoints_of(folder: Path) -> Path:
    return folder / "outputs" / "gsm8k" / "model" / "maxpo-k2-n4-lr1e-6-seed0" / "checkpoints"


def metrics_of(folder: Path) -> list[dict[int, dict[str, Any]]]:
    """Return the metrics of each start by step."""
    files = sorted(checkpoints_of(folder).parent.glob("metrics-*.jsonl"))
    frames = [pd.read_json(file, lines=True) for file in files]
    return [dict(zip(frame["step"], frame["data"], strict=True)) for frame in frames]


def rows_by_step(folder: Path, train: list[str]) -> dict[int, list[int]]:
    """Return which rows of the training data each step took, each N times."""
    rows = {}
    for file in folder.glob("*.jsonl"):
        prompts = pd.read_json(file, lines=True)["input"].value_counts()
        assert (prompts == N).all()
        rows[int(file.stem)] = sorted(
            next(i for i, text in enumerate(train) if text in prompt) for prompt in prompts.index
        )
    return rows


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(1800)
class TestTwoNodes:
    def test_the_second_job_went_on_from_the_checkpoint(self, run: Path) -> None:
        checkpoint = int((run / "checkpoint").read_text())
        assert checkpoint in (2, 4)
        first, second = metrics_of(run)
        assert list(first) == list(range(1, len(first) + 1))
        # A step is logged after its checkpoint, and the driver may be killed in between.
        assert checkpoint - 1 <= len(first) < STEPS
        assert list(second) == list(range(checkpoint + 1, STEPS + 1))
        assert (checkpoints_of(run) / "latest_checkpointed_iteration.txt").read_text() == str(STEPS)

    def test_the_data_come_in_the_order_of_the_seed(self, run: Path) -> None:
        from omegaconf import OmegaConf
        from verl.trainer.ppo.utils import create_rl_sampler

        prompts = pd.read_parquet(run / "outputs" / "data" / "gsm8k" / "train.parquet")["prompt"]
        train = [messages[-1]["content"] for messages in prompts]
        order = list(create_rl_sampler(OmegaConf.create({"shuffle": True, "seed": 0}), train))
        assert order != sorted(order)
        expected = {step: sorted(order[(step - 1) * BATCH : step * BATCH]) for step in range(1, STEPS + 1)}
        before, after = (rows_by_step(run / name, train) for name in ("before", "rollouts"))
        assert {1, 2, 3} <= set(before)
        checkpoint = int((run / "checkpoint").read_text())
        assert before == {step: expected[step] for step in before}
        assert after == {step: expected[step] for step in range(checkpoint + 1, STEPS + 1)}

    def test_both_vllms_had_the_actors_weights(self, run: Path) -> None:
        for metrics in metrics_of(run):
            assert all(step["training/rollout_probs_diff_max"] < 1e-4 for step in metrics.values())
            assert all("best_of_k/reward@2" in step for step in metrics.values())

    def test_too_few_nodes_stop_the_job_with_the_fix(self, cluster: Cluster, tmp_path: Path) -> None:
        assert cluster.submit(tmp_path, NNODES="3", WAIT="20").wait(600) == 1
        log = (tmp_path / "submit.log").read_text()
        assert "3 nodes with 1 free GPUs each are needed, found 2 in 20 s: 127.0.0.2 with 1, 127.0.0.3 with 1" in log
        assert "maxpo is registered in a Ray worker on 127.0.0.3" in log
        assert not (tmp_path / "outputs").exists()
