"""examples/own_loop.py: a loop without fit, short and learning."""

from __future__ import annotations

import re
import runpy

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.integration

EXAMPLE = REPOSITORY / "examples" / "own_loop.py"


def test_a_loop_of_forty_lines_learns(capsys: pytest.CaptureFixture[str]) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert "training.loop" not in text
    runpy.run_path(str(EXAMPLE))
    said = re.findall(r"step (\d+): loss ([\d.]+) accuracy ([\d.]+)\n", capsys.readouterr().out)
    assert [int(step) for step, _, _ in said] == [15, 30, 45, 60]
    assert float(said[-1][2]) > 0.9
    assert float(said[-1][1]) < 0.3
