"""A page: one file without a network, every text escaped, the examples worst first and not too
many."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opened_pages import Opened

import jaxbert.report
from jaxbert.report.html_page import MOST_CLASSES, OTHERS, html
from jaxbert.report.payload import as_script, examples_json
from jaxbert.report.records import (
    Chart,
    Choice,
    Confusion,
    Facts,
    Findings,
    Mark,
    Page,
    Passage,
    Range,
    Series,
    Shown,
    Table,
)
from jaxbert.report.worst import LONGEST, Confidences, Worst

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"'&\u2028{{7*7}}\0"


def shown(number: int = 0, text: str = "a text", **changed: object) -> Shown:
    given = {
        "name": f"id-{number}",
        "passages": [Passage("", text)],
        "choices": (),
        "gold": "yes",
        "predicted": "no",
        "right": False,
        "badness": 0.5,
        "confidence": 0.75,
        "length": len(text),
    }
    return Shown(**{**given, **changed})


def page(findings: Findings | None = None, **changed: object) -> Page:
    return Page(**{"title": "a run", "lead": "", "headline": {}, "findings": findings, **changed})


def test_every_text_is_escaped() -> None:
    """In whatever place a text of the data, the options or the machine stands."""
    x = HOSTILE
    example = Shown(
        x, [Passage(x, x, [Mark(0, 3, x, "gold")])], [Choice(x, 0.5, True, False)], x, x, False,
        1.0, 0.5, 3, {x: x, f"{x}2": x},
    )  # fmt: skip
    chart = Chart(x, x, x, [Series(x, [1.0, 2.0], [1.0, None])], says=x)
    whole = page(
        Findings(
            Worst([example, shown(facets={x: "other"})]),
            Confusion([x, "b"], [[1, 2], [0, 1]], x),
            [Table([x], [[x]], title=x)],
            [chart],
            Confidences([(0.5, True)]),
        ),
        title=x,
        lead=x,
        headline={x: x},
        tables=[Table([x, "seeds"], [[x, Range(0, 1, 0, 1)]], title=x, note=x)],
        charts=[chart],
        facts=[Facts(x, {x: x})],
        command=x,
    )
    plain = Opened(html(page(Findings(Worst([shown()])))))
    opened = Opened(html(whole))
    assert opened.scripts == plain.scripts  # the two of the package, and none more
    assert opened.attributes("img", "src") == []
    assert not [a for _, attrs in opened.elements for a in attrs if a.startswith("on")]
    assert x.replace("\0", "\ufffd") in opened.text.replace("\0", "\ufffd")
    assert "{{7*7}}" in opened.text  # a text is no template either
    row = opened.data["examples"]["rows"][0]
    assert (row["id"], row["g"], row["o"][0][0]) == (x, x, x)
    assert opened.data["examples"]["texts"][row["t"][0][1]] == x


@given(st.text(st.characters(exclude_categories=())))
def test_json_in_a_script_is_what_it_was_and_ends_no_script(text: str) -> None:
    script = as_script([text])
    assert not set("<>&\u2028\u2029") & set(script)
    assert script.encode("utf-8")  # a surrogate, too
    import json

    assert json.loads(script) == [text]


def test_it_opens_without_a_network() -> None:
    """Nothing is loaded: no address but in words, and a policy that forbids all but the two scripts
    that are there."""
    opened = Opened(html(page(Findings(Worst([shown()])))))
    links = [
        value
        for tag, attrs in opened.elements
        for name, value in attrs.items()
        if name in ("src", "href", "action", "data")
    ]
    assert all(link.startswith("#") for link in links)
    (policy,) = (
        attrs["content"]
        for tag, attrs in opened.elements
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in opened.scripts
    ]
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("script-src " + " ".join(f"'sha256-{found}'" for found in hashes))
    targets = {attrs["id"] for _, attrs in opened.elements if "id" in attrs}
    assert {link[1:] for link in links} <= targets
    assert len(targets) == sum("id" in attrs for _, attrs in opened.elements)  # each once


def test_the_script_never_sets_html() -> None:
    text = (Path(jaxbert.report.__file__).parent / "report.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_ten_thousand_examples_are_below_20_mb_and_take_seconds() -> None:
    rng = random.Random(0)
    contexts = ["".join(rng.choices("abcdefg hij", k=900)) for _ in range(2000)]
    examples = [
        shown(
            n,
            passages=[Passage("", f"Question {n}?"), Passage("", contexts[n % 2000], [])],
            choices=[Choice(contexts[n % 2000][k : k + 40], 0.1, False, False) for k in range(8)],
            badness=rng.random(),
            facets={"asks": rng.choice(["who", "what"])},
        )
        for n in range(10_000)
    ]
    started = time.process_time()
    content = html(page(Findings(Worst(examples))))
    assert len(content.encode()) < 20e6
    assert time.process_time() - started < 20  # of this process; about one
    assert len(Opened(content).data["examples"]["rows"]) == 10_000


def test_of_more_than_fits_the_worst_are_shown() -> None:
    examples = [shown(n, text=f"{n} " + "x" * 1000, badness=float(n)) for n in range(100)]
    found = examples_json(Worst(examples, most_bytes=30_000))
    assert found["total"] == 100
    names = [row["id"] for row in found["rows"]]
    assert names == [f"id-{n}" for n in range(99, 99 - len(names), -1)]
    assert 20 <= len(names) < 30


@given(
    st.lists(st.text("aé漢🙂𝒳", min_size=1, max_size=4), min_size=3, max_size=9),
    st.data(),
)
def test_marks_are_in_the_units_of_javascript(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    found = examples_json(
        Worst([shown(passages=[Passage("", text, [Mark(start, end, "", "gold")])])])
    )
    (_, number, ((first, last, _, is_gold),)) = found["rows"][0]["t"][0]
    units = found["texts"][number].encode("utf-16-le")
    assert units[2 * first : 2 * last].decode("utf-16-le") == text[start:end]
    assert is_gold == 1


def test_a_long_text_is_shown_around_its_mark() -> None:
    text = "x" * 50_000 + "ANSWER" + "y" * 50_000
    marked = Passage("", text, [Mark(50_000, 50_006, "", "predicted")])
    found = examples_json(Worst([shown(passages=[marked])]))
    (_, number, ((first, last, *_),)) = found["rows"][0]["t"][0]
    excerpt = found["texts"][number]
    assert excerpt[first:last] == "ANSWER"
    assert len(excerpt) < LONGEST + 10
    assert excerpt.startswith("… x")
    assert excerpt.endswith("y …")


def test_numbers_that_are_not_finite_are_no_values() -> None:
    chart = Chart("c", "step", "", [Series("s", [1.0, 2.0, 3.0], [1.0, float("nan"), None])])
    odd = shown(badness=float("nan"), confidence=float("inf"))
    opened = Opened(html(page(Findings(Worst([odd])), charts=[chart])))
    assert opened.data["charts"][0]["series"][0]["y"] == [1.0, None, None]
    assert opened.data["examples"]["rows"][0]["c"] is None


def test_facets_are_in_the_order_of_their_numbers() -> None:
    kinds = ["101 to 250", "26 to 50", "up to 25", "above 2500"]
    found = examples_json(Worst(shown(facets={"characters": kind}) for kind in kinds))
    values = {facet["name"]: facet["values"] for facet in found["facets"]}
    assert values["characters"] == ["above 2500", "up to 25", "26 to 50", "101 to 250"]
    assert values["verdict"] == ["wrong"]


def test_a_confusion_of_many_classes_keeps_every_count() -> None:
    rng = random.Random(1)
    names = [f"class {n}" for n in range(60)]
    counts = [[rng.randrange(9) for _ in names] for _ in names]
    opened = Opened(html(page(Findings(Worst([shown()]), Confusion(names, counts, "texts")))))
    assert OTHERS == "(others)"
    assert opened.text.count(OTHERS) == 2
    heads = [attrs for tag, attrs in opened.elements if tag == "th" and attrs["scope"] == "row"]
    assert len(heads) == MOST_CLASSES + 1
    cells = re.findall(r'<td class="(?:hit|zero|miss)".*?</td>', html_of(names, counts), re.DOTALL)
    total = sum(int(re.sub(r"<[^>]*>", "", cell)) for cell in cells)
    assert total == sum(map(sum, counts))


def html_of(names: list[str], counts: list[list[int]]) -> str:
    return html(page(Findings(Worst([shown()]), Confusion(names, counts, "texts"))))


def test_what_there_is_not_has_no_part_in_the_page() -> None:
    opened = Opened(html(page()))
    assert opened.attributes("section", "id") == []
    assert opened.data == {"charts": [], "examples": None}


def test_the_libraries_licence_is_beside_it() -> None:
    folder = Path(jaxbert.report.__file__).parent
    assert "MIT License" in (folder / "LICENSE.uPlot").read_text(encoding="utf-8")
    assert "uPlot (v1.6.32)" in (folder / "uPlot.iife.min.js").read_text(encoding="utf-8")[:200]


@pytest.mark.parametrize("right", [True, False, None])
def test_calibration_is_of_what_is_known(right: bool | None) -> None:
    known = [] if right is None else [(0.75, right)] * 4
    opened = Opened(
        html(page(Findings(Worst([shown(right=right)]), confidences=Confidences(known))))
    )
    titles = [chart["title"] for chart in opened.data["charts"]]
    assert titles == ([] if right is None else ["Calibration"])
    if right:
        assert "expected calibration error 0.250; 4 at 75%: 100% right" in opened.text
