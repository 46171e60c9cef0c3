"""Examples that are kept in a file are those that were written."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data import record_blocks
from jaxbert.data.choices import ChoiceExample
from jaxbert.data.kept_examples import KeptExamples
from jaxbert.data.questions import Answer, QAExample
from jaxbert.data.record_blocks import write_blocks
from jaxbert.data.soft_labels import SoftLabel
from jaxbert.data.stored_lines import LineExample
from jaxbert.data.texts import TextExample
from jaxbert.data.words import WordsExample
from jaxbert.errors import InputError

texts = st.text(max_size=8)  # hypothesis draws no lone surrogates
tuples = st.lists(texts, max_size=3).map(tuple)
answers = st.builds(Answer, texts, st.none()) | st.builds(Answer, texts, st.integers(0, 9))
distributions = st.builds(SoftLabel, tuples, st.lists(st.floats(0, 1), max_size=3).map(tuple))
labels = st.none() | texts | st.floats(-9, 9) | tuples | distributions
EXAMPLES = {
    QAExample: st.builds(
        QAExample, texts, texts, texts, st.lists(answers, max_size=2).map(tuple), st.booleans()
    ),
    TextExample: st.builds(TextExample, texts, texts, st.none() | texts, labels),
    WordsExample: st.builds(WordsExample, texts, tuples, st.none() | tuples),
    ChoiceExample: st.builds(ChoiceExample, texts, texts, tuples, st.none() | st.integers(0, 3)),
    LineExample: st.builds(LineExample, texts, texts),
}


@pytest.mark.parametrize("cls", EXAMPLES)
def test_any_examples_come_back(cls: type[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    @given(st.lists(EXAMPLES[cls], max_size=7), st.integers(1, 3))
    def try_them(examples: list[Any], size: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record_blocks, "_BLOCK", size)
            path = tmp_path_factory.mktemp("kept") / "examples"
            blocks = write_blocks(iter(examples), path)
            kept = KeptExamples(path, blocks, len(examples), cls, "identity")
            assert [*kept] == examples == kept[:]
            for index, example in enumerate(examples):
                assert kept[index] == example == kept[index - len(examples)]
                assert type(kept[index]) is cls
                assert all(
                    type(a) is type(b)
                    for a, b in zip(_values(kept[index]), _values(example), strict=True)
                )
            assert kept[1:3] == examples[1:3]
            with pytest.raises(IndexError):
                kept[len(examples)]

    try_them()


def _values(example: Any) -> list[Any]:
    return [getattr(example, field.name) for field in dataclasses.fields(example)]


def test_a_paragraph_of_many_questions_lies_there_once(tmp_path: Path) -> None:
    paragraph = "".join(map(chr, range(32, 1032)))
    examples = [QAExample(str(n), f"Question {n}?", paragraph) for n in range(100)]
    blocks = write_blocks(examples, tmp_path / "examples")
    assert blocks[-1].end < 10_000


def test_what_is_cut_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "examples"
    examples = [LineExample("here", str(n)) for n in range(3000)]
    blocks = write_blocks(examples, path)
    kept = KeptExamples(path, blocks, len(examples), LineExample, "")
    assert [*itertools.islice(kept, 2)] == examples[:2]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"examples kept there cannot be read .* remove the fold"):
        kept[2999]


def test_lone_surrogates_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_blocks([LineExample("a\udcff.txt: line 1", "text")], tmp_path / "examples")
