"""The page in a real Chromium: type, ask, see; a narrow screen, dark, keys alone, axe."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from chromium import chromium, serious_findings
from scripts import environment
from tiny_models import tiny_run

pytest.importorskip("fastapi", reason='needs pip install "jaxbert[serve]"')
from serving import Server, server

sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")

pytestmark = pytest.mark.slow

TASKS = ("qa", "classification", "regression", "tagging", "mlm")
CONTEXT = "Ada met \U0001f682 Zoe at the station in 北京. " * 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("runs")
    for name in (*TASKS, "qa_other"):
        (base / name).mkdir()
        tiny_run(base / name, name.removesuffix("_other"))
    unsure = base / "qa_unsure"  # it gives no answer unless it is surer than it ever is
    unsure.mkdir()
    tiny_run(unsure, "qa", version_2_with_negative=True, null_score_diff_threshold=-1e4)
    places = [str(base / name) for name in (*TASKS, "qa_other", "qa_unsure")]
    with server(*places, "--max_batch", "1", env=environment()) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(served: Server, browser: sync_api.Browser) -> Iterator[Callable[..., sync_api.Page]]:
    contexts = []

    def visit(task: str, **options: object) -> sync_api.Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.faults = faults
        page.goto(f"{served.url}?task={task}")
        page.wait_for_function("!document.querySelector('.ask').disabled")
        return page

    yield visit
    for context in contexts:
        assert [fault for page in context.pages for fault in page.faults] == []
        context.close()


def ask_a_question(page: sync_api.Page) -> None:
    page.get_by_label("Text").fill(CONTEXT)
    page.get_by_label("Question").fill("who?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector(".card .answer")


def test_a_question_is_answered_in_its_text(visit: Callable[..., sync_api.Page]) -> None:
    page = visit("qa")
    ask_a_question(page)
    cards = page.locator(".card")
    assert cards.count() == 3  # the models, side by side
    assert page.locator(".card h2").first.inner_text().startswith("qa")
    answer = cards.first.locator(".answer").inner_text()
    marked = "".join(cards.first.locator("mark.first").all_text_contents())
    assert answer.strip() == marked.strip()
    assert cards.first.locator(".text").first.inner_text().strip() == CONTEXT.strip()
    assert "%" in cards.first.locator(".beside").first.inner_text()
    assert cards.first.locator(".rows li").count() == 5
    windows = cards.first.locator(".strip button")
    assert windows.count() > 1
    windows.nth(1).click()
    shaded = "".join(cards.first.locator(".shaded").all_text_contents())
    assert shaded
    assert shaded in CONTEXT
    assert windows.nth(1).get_attribute("aria-pressed") == "true"
    assert cards.first.locator(".text").first.inner_text().strip() == CONTEXT.strip()


def test_one_of_the_models_alone(visit: Callable[..., sync_api.Page]) -> None:
    page = visit("qa")
    page.get_by_label("qa_other").uncheck()
    page.get_by_label("qa_unsure").uncheck()
    ask_a_question(page)
    assert page.locator(".card").count() == 1
    page.get_by_label("qa", exact=True).uncheck()
    page.get_by_role("button", name="Ask", exact=True).click()
    assert page.get_by_role("status").inner_text() == "Choose a model."


def test_no_answer_is_an_answer(visit: Callable[..., sync_api.Page]) -> None:
    page = visit("qa")
    page.get_by_label("qa", exact=True).uncheck()
    page.get_by_label("qa_other").uncheck()
    ask_a_question(page)
    card = page.locator(".card")
    assert card.locator(".answer").inner_text() == "No answer"
    assert card.locator("mark.first").count() == 0
    assert "the text does not say it" in card.locator(".beside").first.inner_text()
    assert "above the threshold, -10000.00, no answer is given" in card.inner_text()
    assert card.locator(".text").first.inner_text().strip() == CONTEXT.strip()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("language", ["English", "中文"])
def test_the_examples_of_every_task_are_answered(
    visit: Callable[..., sync_api.Page], task: str, language: str
) -> None:
    page = visit(task)
    page.get_by_role("button", name=language).click()
    page.wait_for_selector(".card")
    assert page.locator(".card .bad").count() == 0
    what = {"regression": ".answer", "tagging": ".text"}.get(task, ".rows li")
    assert page.locator(f".card {what}").count() >= 1


def test_text_is_never_markup(visit: Callable[..., sync_api.Page]) -> None:
    page = visit("tagging")
    text = "<img src=x onerror=alert(1)> <b>Ada</b>"
    page.get_by_label("Text").fill(text)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".card .text")
    found = page.evaluate(
        "[...document.querySelectorAll('.card .text')].map(e => {"
        "const c = e.cloneNode(true); c.querySelectorAll('small').forEach(s => s.remove());"
        "return c.textContent})"
    )
    assert found == [text]
    assert page.locator(".card img, .card b").count() == 0


def test_what_is_wrong_is_said(visit: Callable[..., sync_api.Page]) -> None:
    page = visit("mlm")
    page.get_by_label("Text with [MASK]").fill("no mask")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector(".card .bad")
    assert page.locator(".card .bad").inner_text().startswith("text has no [MASK]; write it")
    page.faults.clear()  # Chromium notes the status 400


def test_a_text_that_is_too_large_is_refused_in_a_sentence(
    visit: Callable[..., sync_api.Page],
) -> None:
    page = visit("tagging")
    page.get_by_label("Text").fill("Ada met Zoe. " * 10_000)
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector(".card .bad")
    said = page.locator(".card .bad").inner_text()
    assert said == "a request may have 100,000 bytes; send a shorter text"
    assert page.locator(".card .text").count() == 0
    page.faults.clear()  # Chromium notes the status 413


def test_with_keys_alone(visit: Callable[..., sync_api.Page]) -> None:
    page = visit("qa")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if (
                page.evaluate("document.activeElement.id || document.activeElement.textContent")
                == name
            ):
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.evaluate(outline) == "solid"
                return
        pytest.fail(f"no {name}")

    tab_to("context")
    page.keyboard.type("Ada met Zoe at the station.")
    tab_to("question")
    page.keyboard.type("who?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card .answer")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaPressed") == "false":
            break
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
    assert page.locator(".shaded").count() > 0


@pytest.mark.parametrize("task", TASKS)
def test_a_narrow_screen_has_no_sideways_scrolling(
    visit: Callable[..., sync_api.Page], task: str
) -> None:
    page = visit(task, viewport={"width": 320, "height": 640})
    page.get_by_role("button", name="English").click()
    page.wait_for_selector(".card")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    box = page.get_by_role("button", name="Ask", exact=True).bounding_box()
    assert box is not None
    assert box["height"] >= 24


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("task", [*TASKS, "docs"])
def test_axe_finds_nothing_serious(
    visit: Callable[..., sync_api.Page], served: Server, task: str, scheme: str
) -> None:
    page = visit("qa" if task == "docs" else task, color_scheme=scheme)
    if task == "docs":
        page.goto(f"{served.url}docs")
    else:
        page.get_by_role("button", name="English").click()
        page.wait_for_selector(".card")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert dark is (scheme == "dark")
    assert serious_findings(page) == []
