"""A page shows the worst examples that fit, and no more of them are kept than it needs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jaxbert.report.payload import examples_json
from jaxbert.report.records import Choice, Mark, Passage, Shown
from jaxbert.report.worst import Confidences, Worst

texts = st.text(max_size=30) | st.sampled_from(["a" * 400, "é\n" * 90, "漢🙂" * 70])
marks = st.builds(
    Mark, st.just(0), st.integers(0, 1), texts, st.sampled_from(["gold", "predicted"])
)
# Of a few paragraphs, so that many examples have one.
passages = st.builds(
    Passage, texts, st.sampled_from(["p" * 50, "q" * 500, "r\n" * 300]), st.lists(marks, max_size=2)
)
choices = st.builds(Choice, texts, st.none() | st.floats(0, 1), st.booleans(), st.booleans())
examples = st.builds(
    Shown,
    name=texts,
    passages=st.lists(passages | st.builds(Passage, texts, texts), max_size=3),
    choices=st.lists(choices, max_size=3),
    gold=st.none() | texts,
    predicted=texts,
    right=st.none() | st.booleans(),
    badness=st.sampled_from([-1.0, 0.0, 0.5, 1.5]) | st.floats(-2, 2),
    confidence=st.none() | st.floats(0, 1),
    length=st.integers(0, 1000),
    facets=st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=2),
)


def fitting(whole: Any, most: int) -> tuple[int, int]:
    """How many of all rows and texts fit in that number of bytes."""
    size = fit = known = 0
    for row in whole["rows"]:
        size += len(dumped(row))
        while known <= max((number for _, number, _ in row["t"]), default=-1):
            size += len(dumped(whole["texts"][known]))
            known += 1
        if size > most:
            break
        fit += 1
    return fit, known


def check(given_: list[Shown], most: int) -> None:
    whole: Any = examples_json(Worst(given_, 10**9))
    found: Any = examples_json(Worst(given_, most))
    numbers = sorted(range(len(given_)), key=lambda n: -given_[n].badness)
    assert [row["n"] for row in whole["rows"]] == numbers
    rows, texts_ = fitting(whole, most)
    assert (found["rows"], found["texts"]) == (whole["rows"][:rows], whole["texts"][:texts_])
    assert (found["total"], found["facets"]) == (len(given_), whole["facets"])


@given(st.lists(examples, max_size=25), st.sampled_from([0, 300, 1000, 3000, 10**6]))
def test_they_are_those_of_all_examples_sorted(given_: list[Shown], most: int) -> None:
    check(given_, most)


def test_of_the_smallest_examples_none_is_missing() -> None:
    smallest = Shown("", [], [], "", "", True, 0.0, None, 0)
    for few in (
        smallest,
        dataclasses.replace(smallest, passages=[Passage("", "")]),
        dataclasses.replace(smallest, passages=[Passage("", "of all " * 9)]),
        dataclasses.replace(smallest, choices=[Choice("", 1.0, False, False)] * 3),
    ):
        check([few] * 200, 8000)


def dumped(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def shown(number: int) -> Shown:
    return Shown(
        name=f"id-{number}",
        passages=[Passage("", f"question {number}"), Passage("", f"text {number % 9} " * 50)],
        choices=[Choice(f"choice {k} of {number}", 0.25, False, False) for k in range(4)],
        gold="yes",
        predicted="no",
        right=bool(number % 2),
        badness=(number * 7919) % 10_007 / 10_007,
        confidence=0.5,
        length=9,
        facets={"kind": str(number % 3)},
    )


def test_what_cannot_be_shown_is_not_kept() -> None:
    worst = Worst(map(shown, range(5000)), most_bytes=20_000)
    found: Any = examples_json(worst)
    assert 20 < len(found["rows"]) <= len(worst) < 2 * len(found["rows"])
    assert worst.total == 5000
    assert worst.facets == {"verdict": {"right", "wrong"}, "kind": {"0", "1", "2"}}
    kept = [dataclasses.replace(s, passages=[]) for s in worst]
    assert kept == sorted(kept, key=lambda s: int(s.name[3:]))


def test_one_paragraph_of_many_examples_is_in_memory_once() -> None:
    worst = Worst(shown(n) for n in range(50))
    assert len({id(s.passages[1].text) for s in worst}) == 9


def test_confidences_are_of_what_is_known() -> None:
    pairs = [(0.5, True), (None, True), (0.25, False), (0.75, None)]
    assert [*Confidences(pairs)] == [(0.5, True), (0.25, False)]
