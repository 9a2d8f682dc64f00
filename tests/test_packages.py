"""What pip gets: the wheel and the sdist, and the wheel in an environment that has nothing else of this project."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tables import ROOT
from uv import find_uv_bin

import verl_maxpo

UV = find_uv_bin()
REQUIREMENTS = ROOT / "requirements"


def checked(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it, with the build backend that is installed here."""
    folder = tmp_path_factory.mktemp("dist")
    checked(UV, "build", "--python", sys.executable, "--no-build-isolation", "--out-dir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


def of_the_package() -> set[str]:
    files = (path for path in (ROOT / "verl_maxpo").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in files}


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == of_the_package()
    assert {"verl_maxpo/py.typed", "verl_maxpo/config/maxpo_trainer.yaml"} <= names


def test_the_metadata(wheel: Path) -> None:
    assert wheel.name == f"verl_maxpo-{verl_maxpo.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        about = f"verl_maxpo-{verl_maxpo.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{about}/METADATA"))
        assert archive.read(f"{about}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2606.06080"]  # no public home yet
    targets = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert len(targets) >= 5
    assert all(target.startswith("https://") for target in targets)  # else they would lead nowhere on PyPI


def test_the_sdist_can_run_the_tests(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert of_the_package() < names
    assert set(tracked) <= names


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel without extras, at the versions of `make setup`, and return the folder of its commands."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    here = wheels and list(Path(wheels).glob("torch-*"))  # as in the Makefile
    torch = ["--find-links", wheels] if here else ["--torch-backend=cpu"]
    pins = ["--constraints", REQUIREMENTS / "cpu.txt", "--overrides", REQUIREMENTS / "overrides.txt"]
    checked(UV, "venv", "--python", sys.executable, folder)
    checked(UV, "pip", "install", "--python", folder / "bin" / "python", *torch, *pins, wheel)
    return folder / "bin"


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of its commands in an empty folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean["PATH"] = f"{environment}:{os.environ['PATH']}"

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [environment / name, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=240)

    return run


REGISTERED = """
import importlib.metadata, verl, verl_maxpo
from hydra import compose, initialize_config_module
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
print(get_adv_estimator_fn("maxpo").__module__, verl_maxpo.__file__)
assert verl_maxpo.__version__ == importlib.metadata.version("verl-maxpo")
with initialize_config_module("verl_maxpo.config", version_base=None):
    print("k", compose("maxpo_trainer").algorithm.maxpo.k)
"""


@pytest.mark.slow
class TestInstalledWithoutExtras:
    def test_verl_finds_the_estimator_and_hydra_the_configuration(self, installed: Callable[..., object]) -> None:
        done = installed("python", "-c", REGISTERED)
        assert done.returncode == 0, done.stderr
        found, k = done.stdout.splitlines()
        assert found.startswith("verl_maxpo.trainer.estimator ")
        assert "site-packages" in found
        assert k == "k 8"
        assert "verl-maxpo" not in done.stderr  # no warning of a feature that could not be registered

    @pytest.mark.parametrize(
        ("command", "missing", "extra"),
        [
            ("evaluate run", "msgspec", "evaluate"),
            ("choose-k run", "msgspec", "evaluate"),
            ("prepare reasoning_gym:chain_sum --out out", "reasoning_gym", "data"),
            ("check train.parquet", "msgspec", "rewards"),
        ],
    )
    def test_a_command_names_its_extra(
        self, command: str, missing: str, extra: str, installed: Callable[..., object]
    ) -> None:
        done = installed("verl-maxpo", *command.split())
        name = command.split()[0]
        assert (done.returncode, done.stderr) == (
            2,
            f"error: {name} needs {missing}: pip install 'verl-maxpo[{extra}]'\n",
        )

    def test_doctor_names_what_a_run_needs(self, installed: Callable[..., object]) -> None:
        done = installed("verl-maxpo", "doctor", "--no-ray")
        assert done.returncode == 1
        assert done.stderr == ""
        assert "[  ok] maxpo is registered in this process" in done.stdout
        assert "fix: pip install 'verl-maxpo[trainer]'" in done.stdout
        assert "fix: pip install 'verl-maxpo[rewards]'" in done.stdout

    def test_the_version_is_everywhere_the_same(self, installed: Callable[..., object]) -> None:
        assert installed("verl-maxpo", "--version").stdout == f"verl-maxpo {verl_maxpo.__version__}\n"
