"""Hostile responses, at function level: nothing is executed, and nothing takes long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.hostile import CANARY, CASES, PAYLOAD, Case

from verl_maxpo.rewards.registry import load_verifier

SECONDS = 2.0


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_hostile_response(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    verify = load_verifier(case.verifier)
    start = time.perf_counter()
    result = verify(case.response, case.ground_truth, case.extra_info)
    assert time.perf_counter() - start < SECONDS
    assert (result.status.value in case.statuses, result.correct) == (True, case.correct), result
    assert not Path(CANARY).exists()


def test_payload_does_set_the_canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    eval(PAYLOAD)
    assert Path(CANARY).exists()


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
