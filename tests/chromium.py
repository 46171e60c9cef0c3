"""Debian's Chromium, driven by Playwright, and what axe finds on a page in it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_FLAGS += ["--disable-component-update", "--disable-sync"]


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where Chromium or Playwright is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


def serious_findings(page: Any, within: str = "") -> list[str]:
    """What axe calls serious or critical on a page: the rule and where it is broken.

    Args:
        within: a selector, where only a part of the page is ours.
    """
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs pip install axe-playwright-python"
    )
    script = Path(axe.__file__).with_name("axe.min.js").read_text("utf-8")
    page.evaluate(script)  # not a script element, which our pages do not allow
    where = json.dumps(within) if within else "document"
    found = page.evaluate(f"axe.run({where}).then(found => found.violations)")
    return [
        f"{each['id']}: {node['html'][:150]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
