"""The report of a training of every task in Chromium: axe has nothing serious to say, in light and
dark, and a phone needs no sideways scrolling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, serious_findings
from conftest import DEMO
from task_runs import Runs, command_line, train_once, write_rows, write_vocabulary

pytestmark = pytest.mark.slow

TASKS = ("qa", "classification", "regression", "tagging", "multiple_choice", "mlm")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The report of a task's run."""
    base = tmp_path_factory.mktemp("reports")
    from_scratch, data = write_vocabulary(base / "vocabulary"), write_rows(base)

    def words_of(task: str, folder: Path) -> list[str]:
        if task != "qa":
            return command_line(from_scratch, data, task, folder)
        dev = str(DEMO / "qa_en_dev.json")
        return [
            *("--config_name", str(from_scratch), "--train_file", dev, "--validation_file", dev),
            *("--output_dir", str(folder), "--max_train_samples", "6", "--max_eval_samples", "30"),
            *("--max_steps", "2", "--max_seq_length", "128", "--doc_stride", "32"),
        ]

    run = train_once(words_of, base)
    return lambda task: run(task) / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("task", TASKS)
def test_axe_finds_nothing_serious(browser: Any, report: Runs, task: str, scheme: str) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(report(task).as_uri())
    page.wait_for_selector("#list > li")
    assert serious_findings(page) == []
    page.close()


@pytest.mark.parametrize("task", TASKS)
def test_a_phone_needs_no_sideways_scrolling(browser: Any, report: Runs, task: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(report(task).as_uri())
    page.wait_for_selector("#list > li")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
