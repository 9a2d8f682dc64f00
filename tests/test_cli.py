"""The command ``verl-maxpo``: one shape for all its commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from support.processes import RunPython

from verl_maxpo.cli import _COMMANDS, main


def test_the_console_script_is_this_one() -> None:
    scripts = [point for point in entry_points(group="console_scripts") if point.name == "verl-maxpo"]
    if not scripts:
        pytest.skip("installed before this command was part of the package")
    assert scripts[0].load() is main


def test_start_up_is_fast(run_fresh_python: RunPython) -> None:
    heavy = "{'torch', 'pyarrow', 'verl', 'ray', 'omegaconf', 'rich', 'matplotlib', 'datasets', 'transformers'}"
    done = run_fresh_python(
        f"import sys; from verl_maxpo.cli import main; main(['--help']); print({heavy} & set(sys.modules))"
    )
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


@pytest.mark.parametrize("name", _COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    assert f"  {name} " in capsys.readouterr().out
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: verl-maxpo {name} ")
    assert "--json FILE" in shown
    assert f"    verl-maxpo {name} " in shown  # an example
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["evaluate"], "RUN"),
        (["evaluate", "missing"], "missing does not exist"),
        (["evaluate", "run", "--k", "0"], "argument --k: expected a whole number of at least 1, got '0'"),
        (["choose-k", "missing"], "missing does not exist"),
        (["choose-k", "run", "--n", "1.5"], "argument --n: expected a whole number of at least 1, got '1.5'"),
        (["prepare", "gsm8k", "--out", "d", "--size", "x"], "argument --size: expected a whole number"),
        (["prepare", "gsm8k"], "the following arguments are required: --out"),
        (["check", "missing.parquet"], "missing.parquet"),
        (["doctor", "--gpus", "-1"], "argument --gpus: expected a whole number of at least 0, got '-1'"),
    ],
)
def test_unusable_arguments_end_with_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: " in shown.err
    assert message in shown.err
    assert not re.search(r"\b_\w", shown.err)


def test_a_reader_who_has_enough_ends_it_quietly(tmp_path: Path) -> None:
    """As in ``| head -1``."""
    dump = tmp_path / "a.jsonl"
    dump.write_text("".join(f'{{"input": "{i}", "score": {i % 2}}}\n' for i in range(8)))
    command = [sys.executable, "-m", "verl_maxpo", "evaluate", str(dump)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("evaluate", "rich", "evaluate"), ("choose-k", "msgspec", "evaluate"), ("prepare", "reasoning_gym", "data")],
)
def test_a_missing_extra_is_named(name: str, package: str, extra: str, run_fresh_python: RunPython) -> None:
    arguments = ["reasoning_gym:chain_sum", "--out", "out"] if name == "prepare" else ["run"]
    code = "import sys; sys.modules[{!r}] = None; from verl_maxpo.cli import main; sys.exit(main({!r}))"
    done = run_fresh_python(code.format(package, [name, *arguments]))
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {name} needs {package}[\w.]*: pip install 'verl-maxpo\[{extra}\]'\n", done.stderr)
