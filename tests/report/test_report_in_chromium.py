"""The page in a real browser: curves are drawn and zoomed, examples are filtered and paged, and no
text of the data runs. Needs Debian's chromium and the package playwright."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium

from jaxbert.metrics.scores import Metric
from jaxbert.report.curves import training_charts
from jaxbert.report.html_page import html
from jaxbert.report.records import Confusion, Findings, Mark, Page, Passage, Shown
from jaxbert.report.worst import Worst

pytestmark = pytest.mark.integration

HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
ANSWER = "the 𝒳 answer"


def content() -> str:
    text = f"🙂🙂 {HOSTILE} then {ANSWER} and more"
    start = text.index(ANSWER)
    marks = [Mark(start, start + len(ANSWER), "", by) for by in ("gold", "predicted")]
    shown = [
        Shown(
            f"id {n}",
            [Passage("", f"Question {n}? {HOSTILE}"), Passage("", text, marks)],
            (),
            "yes",
            "no" if n % 3 else "yes",
            n % 3 == 0,
            float(n),
            0.5,
            n,
            {"gold": "yes", "predicted": "no" if n % 3 else "yes", HOSTILE: str(n % 2)},
        )
        for n in range(90)
    ]
    log = [
        {"step": n, "loss": 1 / n, "learning_rate": 1 / n, "grad_norm": 2.0} for n in range(1, 200)
    ]
    charts = training_charts(
        log, [{"step": 50, "f1": 1.0}, {"step": 150, "f1": 2.0}], [Metric("f1")]
    )
    confusion = Confusion(["yes", "no"], [[30, 60], [0, 0]], "texts")
    return html(Page(HOSTILE, "", {}, (), charts, Findings(Worst(shown), confusion)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def until(test: Callable[[], bool]) -> None:
    """Wait until it is so; the page's policy lets no test do that within it."""
    end = time.monotonic() + 15
    while not test():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_opens_and_answers(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(content(), encoding="utf-8")
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.set_default_timeout(15_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(path.as_uri())
    page.wait_for_selector("#list > li")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#list > li").count() == 20
    assert page.locator("#count").inner_text() == "90 of 90 examples"
    assert page.locator("#list mark").first.evaluate("e => e.firstChild.textContent") == ANSWER
    assert page.locator("#list > li .id").first.inner_text() == "id 89"  # the worst

    page.locator(".miss button").click()  # of the confusion matrix
    until(lambda: page.locator("#count").inner_text().startswith("60"))
    page.locator("#next").click()
    assert page.locator("#pages").inner_text() == "page 2 of 3"
    page.locator("#filters button").click()
    until(lambda: page.locator("#count").inner_text().startswith("90"))
    page.locator("#filters input").fill("question 7?")
    until(lambda: page.locator("#count").inner_text().startswith("1 "))

    ranges = "[...document.querySelectorAll('.u-legend')].length"
    assert page.evaluate(ranges) == page.locator(".plot").count() == 4
    second = page.locator(".plot canvas").nth(1)
    before = second.evaluate("c => c.toDataURL()")
    page.locator(".plot").first.focus()
    page.keyboard.press("+")  # the other curves go with it
    until(lambda: second.evaluate("c => c.toDataURL()") != before)
    page.keyboard.press("0")
    until(lambda: second.evaluate("c => c.toDataURL()") == before)
    assert said == []
    context.close()
