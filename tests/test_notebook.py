"""The notebook of examples/pytorch runs from top to bottom, and shows what it says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from support.tables import ROOT

FILE = ROOT / "examples" / "pytorch" / "max_at_k.ipynb"
NOTEBOOK = nbformat.read(FILE, as_version=4)


def test_it_is_stored_as_it_ran_and_small() -> None:
    counts = [cell.execution_count for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert FILE.stat().st_size < 300_000


def test_its_links_lead_somewhere() -> None:
    text = "".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert len(targets) > 3
    assert all((FILE.parent / target).exists() for target in targets)


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.read(FILE, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    rows = re.findall(r"k = (\w+) +pass@1 (\S+) +pass@8 (\S+)", shown)
    trained = {k: (float(one), float(eight)) for k, one, eight in rows}
    assert trained["1"][0] > trained["4"][0]
    assert trained["1"][1] < min(trained["4"][1], trained["all"][1])
