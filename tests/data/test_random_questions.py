"""Whatever a question file holds, it gives sound examples or one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from squad_files import (
    CONTEXT,
    flat,
    only,
    qa,
    squad,
    unhurried,
)

from jaxbert.data.questions import QAExample, read_qa
from jaxbert.data.rows import Data
from jaxbert.errors import InputError

NAMES = [
    "data",
    "paragraphs",
    "qas",
    "context",
    "context_text",
    "id",
    "question",
    "query_id",
    "query_text",
    "answers",
    "text",
    "answer_start",
    "is_impossible",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 99)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "London", CONTEXT, "\ud800", "\n"])
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good file in which one value, anywhere, is another; or any value at all."""
    content = json.loads(
        json.dumps(draw(st.sampled_from([squad(qa(), qa("b")), [flat(), flat("b")], None])))
    )
    if content is None:
        return draw(VALUES)
    place: Any = content
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            place[key] = draw(VALUES)
            return content
        place = place[key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def sound(data: Data[QAExample]) -> bool:
    """Every text is as Unicode wants it, every answer where it says, every id once."""
    for row in data.examples:
        for text in (row.id, row.question, row.context, *(a.text for a in row.answers)):
            text.encode()
        for answer in row.answers:
            if answer.start is None:
                continue
            found = row.context[answer.start : answer.end]
            if found != answer.text and (found.split() != answer.text.split() or not found.strip()):
                return False
    return len({row.id for row in data.examples}) == len(data.examples)


@unhurried
@given(content=damaged(), suffix=st.sampled_from(["json", "jsonl"]), strict=st.booleans())
@example(content=[{"context_text": "a", "qas": [{"answers": 3}]}], suffix="json", strict=False)
def test_any_json_gives_data_or_one_line(
    folder: Path, content: Any, suffix: str, strict: bool
) -> None:
    path = folder / f"any.{suffix}"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        data = read_qa([str(path)], strict=strict)
    except InputError as error:
        message = str(error)
    else:
        assert sound(data)
        return
    assert str(path) in message
    assert len(message.splitlines()) == 1


@unhurried
@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_give_one_line(folder: Path, content: bytes) -> None:
    path = folder / "bytes.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_qa([str(path)])
    assert len(str(caught.value).splitlines()) == 1


@unhurried
@given(
    context=st.text("ab \u0301é🍵\n", min_size=1, max_size=200),
    span=st.tuples(st.integers(0, 199), st.integers(1, 12)),
    error=st.integers(-80, 80) | st.just(0),
)
def test_every_offset_is_right_or_none(
    folder: Path, context: str, span: tuple[int, int], error: int
) -> None:
    start = span[0] % len(context)
    text = context[start : start + span[1]]
    answers = [{"text": text, "answer_start": start + error}]
    path = folder / "offsets.json"
    path.write_text(json.dumps(squad(qa(answers=answers), context=context)), encoding="utf-8")
    data = read_qa([str(path)])
    for answer in only(data).answers:
        assert answer.text == text
        found = context[answer.start : answer.end]
        if not text.strip():
            assert answer.start is None
        elif answer.start is not None:
            assert found == text or (found == found.strip() and found.split() == text.split())
        if error == 0 and text.strip():
            assert (answer.start, found) == (start, text)
        if (answer.start, found) != (start + error, text):
            assert data.problems
