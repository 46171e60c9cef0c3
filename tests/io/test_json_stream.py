"""Entries of JSON files that are read bit by bit are those of the whole file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.io import json_stream
from jaxbert.io.json_stream import entries_of_array, entries_of_object, first_sign

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream") / "file.json"


def whole(path: Path, characters: int) -> Any:
    """The content of a file, entry by entry, that number of characters at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHARACTERS", characters)
        if first_sign(path) == "{":
            return dict(entries_of_object(path))
        return list(entries_of_array(path))


@given(
    content=st.lists(VALUES, max_size=5) | st.dictionaries(st.text(max_size=4), VALUES, max_size=5),
    indent=st.sampled_from([None, 0, 2]),
    characters=st.integers(1, 9),
    ascii_only=st.booleans(),
    around=st.sampled_from(["", " \n", "\ufeff"]),
)
def test_any_content(
    content: Any, indent: int | None, characters: int, ascii_only: bool, around: str, path: Path
) -> None:
    text = around + json.dumps(content, indent=indent, ensure_ascii=ascii_only) + around[:1].strip()
    path.write_text(text.removesuffix("\ufeff"), encoding="utf-8", errors="surrogatepass")
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a lone surrogate, not escaped
        with pytest.raises(ValueError, match="codec"):
            whole(path, characters)
        return
    found = whole(path, characters)
    assert found == content
    assert repr(found) == repr(content)  # 1 and 1.0 and True are other values


@given(
    text=st.text(alphabet='[]{},:" 0-1.e\\untrl', max_size=12).map(lambda t: "[" + t)
    | st.text(alphabet='[]{},:" 01.e\\u', max_size=12).map(lambda t: "{" + t),
    characters=st.integers(1, 5),
)
def test_what_is_no_json_is_refused(text: str, characters: int, path: Path) -> None:
    path.write_text(text)
    try:
        content = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - read_json says what is wrong
            whole(path, characters)
        return
    assert whole(path, characters) == content


@pytest.mark.parametrize(
    "text",
    ["", " ", "[", "[1", "[1,", "[1,]", "[1] 2", "[1 2]", '{"a"}', '{"a": 1', "{1: 2}", "[1]]"],
)
def test_faults(text: str, path: Path) -> None:
    path.write_text(text)
    for read in (entries_of_array, entries_of_object):
        with pytest.raises(ValueError):  # noqa: PT011
            list(read(path))


def test_the_last_of_two_with_one_name_counts(path: Path) -> None:
    path.write_text('{"a": 1, "b": 2, "a": 3}')
    assert [*entries_of_object(path)] == [("a", 1), ("b", 2), ("a", 3)]
