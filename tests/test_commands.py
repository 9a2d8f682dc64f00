"""Every command and every piece of Python in the documentation does what it says.

A block of shell commands is run as it stands, in a folder with a copy of examples/. ``verl-maxpo`` is the real one, on
small made data. What would train, install or start a cluster is a stand-in that writes down how it was called: verl's
command lines are then composed by Hydra, options of other programs compared with those that they have, and a block that
trains with GPU settings must say so. What is only written down here is run for real by tests/runs (verl, on a CPU, and
Ray), tests/test_plugin.py (doctor), tests/test_packages.py (pip), tests/data_sets (prepare, from samples of the hub's
files) and tests/reproduction.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pages import Block, blocks, inline_code
from support.stand_ins import Call, StandIns
from support.tables import ROOT
from support.verl_runs import composed

from verl_maxpo.cli import main
from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.trainer.config import MaxPOConfig

#: What stands at the top of a block that not every machine can run, or not soon.
MARKS = ("# needs a GPU", "# takes hours")


PROGRAMS = ["python", "pip", "make", "ray", "verl_maxpo", "sleep"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    """Make what a user has after cloning, below the folder that holds the clone."""
    folder = tmp_path_factory.mktemp("user")
    ignored = shutil.ignore_patterns("__pycache__", "results", "*.png")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignored)
    make_data(folder)
    return StandIns(folder, **dict.fromkeys(PROGRAMS, ""))


def make_data(folder: Path) -> None:
    """Write the files that documented commands read, as small as can be."""
    row = {"data_source": ["openai/gsm8k"], "prompt": [[{"role": "user", "content": "9 * 8 = ?"}]]}
    table = pa.table({**row, "reward_model": [{"ground_truth": "72"}]})
    for file in ("train.parquet", "gsm8k/train.parquet", "gsm8k/test.parquet"):
        (folder / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "data" / file)
    (function,) = (
        block.text for block in blocks("python") if block.page == "docs/rewards.md" and "# reward.py" in block.text
    )
    (folder / "reward.py").write_text(function)
    (folder / "dump.jsonl").write_text(json.dumps({"input": "user: 9 * 8 = ?", "output": "It is 72"}))
    problems = [{"question": f"{i} * 8 = ?", "answer": f"{i * 8}"} for i in range(10)]
    (folder / "problems.jsonl").write_text("\n".join(map(json.dumps, problems)))
    samples = [{"input": f"{i}", "score": float((i + j) % 3 == 0), "step": 0} for i in range(8) for j in range(16)]
    lines = "\n".join(json.dumps({**sample, "acc": sample["score"], "answer": "7"}) for sample in samples)
    validations = [f"outputs/{recipe}/maxpo-seed0/validation/0.jsonl" for recipe in ("gsm8k", "own_task")]
    for file in (*validations, "outputs/rollouts/0.jsonl"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_text(lines)


def run(block: str, clone: StandIns) -> list[Call]:
    """Run shell commands and return the calls that they made."""
    return clone.succeed("bash", "-euo", "pipefail", "-c", block, SEEDS="0")


SHELL = blocks("bash", "console", "sh", "shell")


def test_shell_is_bash() -> None:
    assert len(SHELL) > 15
    assert {block.language for block in SHELL} == {"bash"}


SLOW = [pytest.param(b, marks=pytest.mark.slow if b.page.startswith("examples/") else (), id=str(b)) for b in SHELL]


@pytest.mark.parametrize("block", SLOW)
def test_commands(block: Block, clone: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.folder)
    calls = run(block.text, clone)
    assert calls
    on_gpu = [check(call) for call in calls]
    marks = [mark for mark in MARKS if block.text.startswith(f"{mark}\n")]
    assert ("# needs a GPU" in marks) == any(on_gpu), f"the block's first line, {MARKS[0]}, belongs to GPU settings"


def check(call: Call) -> bool:
    """Check one call, and return whether it needs a GPU."""
    match call.program, call.arguments:
        case "verl-maxpo", arguments:
            check_ours(arguments)
        case "python", ["-m", "verl_maxpo", *arguments]:
            check_options(arguments, help_of_ours(arguments[0]))
        case "python", ["-m", "verl.trainer.main_ppo", *arguments]:
            check_run(tuple(override for override in arguments if not override.startswith(PLACES)))
            return call.platform != "cpu"
        case "python", ["-m", module, *arguments]:
            check_names(arguments, *Path(find_spec(module).submodule_search_locations[0]).glob("*.py"))
        case "python", [file, *arguments]:
            check_names(arguments, ROOT / "examples" / file.rpartition("examples/")[2])
        case "make", targets:
            check_targets(targets)
        case "pip", ["install", *requirements]:
            for requirement in requirements:
                check_requirement(requirement)
        case "ray", ["job", "submit", *_]:
            return call.platform != "cpu"
        case "ray", arguments:
            check_options(arguments, help_of_ray(tuple(arguments[: 2 if arguments[0] == "job" else 1])))
        case "sleep", _:
            pass
        case _:
            raise AssertionError(f"not known here: {call}")
    return False


def check_options(arguments: list[str], shown: str) -> None:
    """Check that a program has the options that it is given."""
    arguments = arguments[: arguments.index("--")] if "--" in arguments else arguments
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert options <= set(re.findall(r"--[\w-]+", shown)), shown


def check_names(arguments: list[str], *files: Path) -> None:
    """Check that the source of a script, which is slow to start, names the options that it is given."""
    source = "".join(file.read_text() for file in files)
    assert source
    names = [argument.strip("-").partition("=")[0] for argument in arguments if argument.startswith("--")]
    assert [name for name in names if name not in source] == []


@functools.cache
def help_of_ours(command: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main([command, "--help"]) == 0
    return shown.getvalue()


@functools.cache
def help_of_ray(command: tuple[str, ...]) -> str:
    from click.testing import CliRunner
    from ray.scripts.scripts import cli

    shown = CliRunner().invoke(cli, [*command, "--help"])
    assert shown.exit_code == 0
    return shown.output


def check_ours(arguments: list[str]) -> None:
    """Run verl-maxpo, but for what looks at this machine."""
    command, *others = arguments
    local = "--local" in others or any(Path(other).is_file() for other in others)
    if command == "doctor" or (command == "prepare" and not local):  # Ray; the hub
        check_options(arguments, help_of_ours(command))
    else:
        assert main(arguments) == 0


#: What differs between runs that are otherwise one; "..." stands for the reader's own.
PLACES = ("...", "hydra.run.dir=", "+ray_kwargs.", "trainer.experiment_name=", "data.seed=")


@functools.cache
def check_run(arguments: tuple[str, ...]) -> None:
    """Compose the configuration of a run and read the options that are this package's."""
    given = dict(itertools.pairwise(arguments))
    package = given.get("--config-path", "pkg://verl.trainer.config").removeprefix("pkg://")
    start = 2 * sum(option in given for option in ("--config-path", "--config-name"))
    config = composed(given.get("--config-name", "ppo_trainer"), *arguments[start:], package=package)
    if config.algorithm.adv_estimator == "maxpo":
        MaxPOConfig.from_algorithm(config.algorithm)
    if config.reward.reward_manager.name == "verifier":
        VerifierConfig.from_reward_kwargs(config.reward.get("reward_kwargs") or {})


def check_targets(targets: list[str]) -> None:
    done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_requirement(requirement: str) -> None:
    """Check a folder to install, which may name an extra."""
    folder, _, extra = requirement.rstrip("]").partition("[")
    project = (ROOT / folder / "pyproject.toml").read_text()
    assert not extra or f"\n{extra} = [" in project


DIFFS = blocks("diff")


@pytest.mark.parametrize("block", DIFFS, ids=str)
@pytest.mark.parametrize("side", "-+")
def test_both_sides_of_a_diff(block: Block, side: str, clone: StandIns) -> None:
    lines = [line[1:] for line in block.text.splitlines() if line[0] in f" {side}"]
    assert all(check(call) for call in run("\n".join(lines), clone))


#: What the reader of an example is expected to have.
GIVEN = "import torch; rewards, scores, uids, answers = torch.rand(16), torch.rand(16), ['a'] * 16, ['7', '8'] * 8"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python(block: Block) -> None:
    names: dict[str, Any] = {}
    exec(GIVEN, names)
    exec(block.text, names)


def test_the_verifier_to_copy_tells_right_from_wrong() -> None:
    (block,) = (block for block in blocks("python") if "def verify(" in block.text)
    names: dict[str, Any] = {}
    exec(block.text, names)
    right, wrong = names["examples"]("Paris", {})
    assert names["verify"](right, "Paris", {}).correct
    assert not names["verify"](wrong, "Paris", {}).correct
    assert not names["verify"](right.upper(), "Paris", {}, ignore_case=False).correct


def test_commands_within_the_text_exist() -> None:
    """Targets of make, commands and options of verl-maxpo, and scripts that a sentence names."""
    checked = 0
    for page, code in sorted(inline_code()):
        match code.split():
            case ["make", target, *_] if target.islower():
                check_targets([target])
            case ["verl-maxpo", command, *arguments] if command.islower():
                check_options([argument.strip("[]") for argument in arguments], help_of_ours(command))
            case [script, *_] if re.fullmatch(r"examples/\S+\.(sh|py)", script):
                assert (ROOT / script).exists(), (page, code)
            case ["python", script, *arguments] if script.endswith(".py"):
                check_names(arguments, ROOT / script)
            case _:
                continue
        checked += 1
    assert checked > 20
