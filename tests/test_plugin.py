"""How verl finds the estimator, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import RunPython, run_forked

from verl_maxpo.rewards.registry import verifier_names

SHOW = "from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY as r; print('FOUND', r.get('maxpo'))"
OURS = "FOUND <function compute_maxpo_outcome_advantage"


def test_importing_verl_registers_maxpo(run_python: RunPython) -> None:
    result = run_python(f"import verl; {SHOW}")
    assert OURS in result.stdout, result.stderr
    assert "verl-maxpo" not in result.stderr


def test_importing_verl_maxpo_imports_neither_verl_nor_ray(run_fresh_python: RunPython) -> None:
    result = run_fresh_python(
        "import sys, verl_maxpo; print({'verl', 'ray', 'vllm', 'transformers'} & sys.modules.keys())"
    )
    assert result.stdout.strip() == "set()", result.stderr


def test_hidden_entry_points_leave_the_external_module(run_python: RunPython) -> None:
    hidden = run_python(f"import verl; {SHOW}", VERL_USE_EXTERNAL_PLUGINS="none")
    assert "FOUND None" in hidden.stdout, hidden.stderr
    named = run_python(
        f"import verl; {SHOW}", VERL_USE_EXTERNAL_PLUGINS="none", VERL_USE_EXTERNAL_MODULES="verl_maxpo.plugin"
    )
    assert OURS in named.stdout, named.stderr


def test_registering_again_changes_nothing(run_python: RunPython) -> None:
    code = (
        "import importlib, verl, verl_maxpo.plugin as p, verl_maxpo.trainer.estimator as e\n"
        f"importlib.reload(e); importlib.reload(p); p.register(); {SHOW}"
    )
    result = run_python(code)
    assert OURS in result.stdout, result.stderr
    assert "already" not in result.stderr


BROKEN = "import sys; sys.modules['verl_maxpo.trainer.estimator'] = None; "


def test_a_broken_plugin_warns_with_the_cause(run_python: RunPython) -> None:
    result = run_python(f"{BROKEN} import verl; {SHOW}")
    assert "FOUND None" in result.stdout, result.stderr
    assert "WARNING" in result.stderr
    assert "algorithm.adv_estimator=maxpo will be unknown" in result.stderr  # what it means
    assert "verl_maxpo.trainer.estimator" in result.stderr  # the cause
    assert "verl-maxpo doctor" in result.stderr  # what to do


def test_a_feature_that_fails_takes_no_other_with_it(run_python: RunPython) -> None:
    result = run_python(f"import sys; sys.modules['verl_maxpo.rewards.adapters.verdicts'] = None; import verl; {SHOW}")
    assert OURS in result.stdout, result.stderr
    assert "reward.reward_manager.name=verifier will be unknown" in result.stderr


def test_a_broken_plugin_named_as_external_module_stops_verl(run_python: RunPython) -> None:
    result = run_python(f"{BROKEN} import verl", VERL_USE_EXTERNAL_MODULES="verl_maxpo.plugin")
    assert result.returncode != 0
    assert "verl_maxpo.trainer.estimator" in result.stderr


def test_a_taken_name_is_reported_and_left_alone(run_python: RunPython) -> None:
    code = (
        "import verl\n"
        "from verl.trainer.ppo.core_algos import register_adv_est\n"
        "@register_adv_est('maxpo')\n"
        "def somebody_elses(**kwargs): pass\n"
        f"import verl_maxpo.plugin\n{SHOW}"
    )
    result = run_python(code, VERL_USE_EXTERNAL_PLUGINS="none")
    assert "FOUND <function somebody_elses" in result.stdout, result.stderr
    assert "'maxpo' is already __main__.somebody_elses and stays that" in result.stderr


def test_an_untested_verl_is_a_warning(run_python: RunPython) -> None:
    code = f"import verl_maxpo; verl_maxpo.TESTED_VERL = ('0.0.1',); import verl; {SHOW}"
    result = run_python(code)
    assert OURS in result.stdout, result.stderr
    assert "run with verl 0.0.1; verl 0.9" in result.stderr


#: Of the extras, what verl does not need itself.
EXTRAS = ["msgspec", "pyseccomp", "math_verify", "reasoning_gym"]
WITHOUT_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS})); "


def test_the_estimator_registers_without_any_extra(run_python: RunPython) -> None:
    result = run_python(f"{WITHOUT_EXTRAS} import verl; {SHOW}")
    assert OURS in result.stdout, result.stderr
    assert "verl-maxpo" not in result.stderr


def test_verl_from_a_checkout_has_no_metadata(run_python: RunPython) -> None:
    code = (
        "import importlib.metadata as m; known = m.version\n"
        "def version(name):\n    if name == 'verl': raise m.PackageNotFoundError(name)\n    return known(name)\n"
        f"m.version = version\nimport verl; {SHOW}"
    )
    assert OURS in run_python(code).stdout


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["doctor", *arguments]
    return run_forked(f"import sys; from verl_maxpo.cli import main; sys.exit(main({command}))", **environment)


def test_doctor_is_content_here() -> None:
    result = doctor("--no-ray")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[  ok] maxpo is registered in this process" in result.stdout
    assert f"[  ok] verifiers of reward.reward_manager.name=verifier: {', '.join(verifier_names())}\n" in result.stdout
    assert "algorithm.adv_estimator=maxpo is ready" in result.stdout


def test_doctor_finds_hidden_entry_points(tmp_path: Path) -> None:
    file = tmp_path / "new" / "findings.json"
    result = doctor("--no-ray", "--json", str(file), VERL_USE_EXTERNAL_PLUGINS="none")
    assert result.returncode == 1
    assert "[fail] VERL_USE_EXTERNAL_PLUGINS=none hides the entry point maxpo" in result.stdout
    assert "[fail] maxpo is not registered in this process" in result.stdout
    assert "fix: unset it, or add maxpo to it" in result.stdout
    findings = json.loads(file.read_text())
    assert [finding["level"] for finding in findings].count("fail") == 2
    assert all(finding["text"] in result.stdout for finding in findings)


def test_doctor_finds_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl_maxpo import doctor
    from verl_maxpo.rewards.isolation import pool
    from verl_maxpo.rewards.isolation.messages import Layer

    missing = {"vllm", "sglang", "math-verify"}
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda package: None if package in missing else installed(package))
    monkeypatch.setattr(doctor, "find_spec", lambda module: None if module == "uvicorn" else object())
    monkeypatch.setattr(pool, "probe_layers", lambda: [Layer("landlock", True), Layer("system calls", False, "why")])
    findings = list(doctor.examine(ray=False))
    notes = [finding.text for finding in findings if finding.level == "note"]
    assert "math-verify is missing, for verifiers" in notes
    assert "not around it: system calls (why)" in notes
    assert any(finding.text == "around a verifier's process: landlock" for finding in findings)
    failures = [finding for finding in findings if finding.level == "fail"]
    assert failures[0].text == "verl's trainer needs uvicorn"
    assert [finding.fix for finding in failures] == [
        "pip install 'verl-maxpo[trainer]'",
        "pip install vllm (without a GPU: docs/cpu_platform.md)",
    ]


@pytest.mark.slow
def test_doctor_looks_into_a_ray_worker() -> None:
    content = doctor()
    assert content.returncode == 0, content.stdout + content.stderr
    assert "[  ok] maxpo is registered in a Ray worker on" in content.stdout


@pytest.mark.slow
def test_doctor_finds_a_ray_worker_without_the_plugin(tmp_path: Path) -> None:
    # The driver names the module itself; Ray's workers, given another environment, do not find it.
    code = (
        "import sys, ray, verl_maxpo.plugin\n"
        "from verl_maxpo.cli import main\n"
        "start = ray.init\n"
        "hidden = {'env_vars': {'VERL_USE_EXTERNAL_PLUGINS': 'none'}}\n"
        "ray.init = lambda **options: start(runtime_env=hidden, **options)\n"
        "sys.exit(main(['doctor']))\n"
    )
    script = tmp_path / "check.py"
    script.write_text(code)
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=180)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "[  ok] maxpo is registered in this process" in result.stdout
    assert "[fail] maxpo is not registered in a Ray worker" in result.stdout
