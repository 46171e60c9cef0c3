"""Sentences with what stands around them: read, encoded, both sides, ends of documents, faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.data.documents import Documents, neighbours
from jaxbert.data.encode_words import encode_words
from jaxbert.data.rows import Data
from jaxbert.data.words import WordsExample, load_words, read_words
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import TaggingEvalOptions, TaggingOptions
from jaxbert.tasks.tagging import Tagging

CONLL = """
one O

-DOCSTART- -X- O

two O
three O

four O

#begin document (b);
five O
#end document

six O
"""


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)


def read(path: str, most: int = 9, column: str | None = None) -> Data[WordsExample]:
    documents = Documents(column, most)
    content = load_words(path, word_column=None, tag_column=None, documents=documents)
    tables = [(path, content)]
    return read_words(tables, word_column=None, tag_column=None, strict=True, documents=documents)


def around(data: Data[WordsExample]) -> list[str]:
    """Of each sentence the words before it, its own, and those after it."""
    return [" | ".join(map(" ".join, (e.before, e.words, e.after))) for e in data.examples]


def test_documents_end_where_conll_says(write: Callable[..., str]) -> None:
    path = write(CONLL, "a.conll")
    found = [" | one | ", " | two three | four", "two three | four | ", " | five | ", " | six | "]
    assert around(read(path)) == found
    assert around(read(path, most=1))[1:3] == [" | two three | four", "three | four | "]
    alone = read_words(
        [(path, load_words(path, word_column=None, tag_column=None))],
        word_column=None,
        tag_column=None,
        strict=True,
    )
    assert [e.words for e in alone.examples] == [e.words for e in read(path).examples]
    assert not any(e.before or e.after for e in alone.examples)


def test_documents_of_conllu(write: Callable[..., str]) -> None:
    line = "{}\t{}\t_\t{}\t_\t_\t_\t_\t_\t_\n"
    one, two, three = (line.format(1, w, "NOUN") + "\n" for w in ("one", "two", "three"))
    text = f"# newdoc id = a\n# sent_id = 1\n{one}# newpar\n{two}# newdoc\n{three}"
    assert around(read(write(text, "a.conllu"))) == [" | one | two", "one | two | ", " | three | "]


@pytest.mark.parametrize("name", ["document_id", "doc_id", "document", "doc", "story"])
def test_documents_of_rows(write: Callable[..., str], name: str) -> None:
    """A row without tags is left out, and is around the others all the same."""
    rows = [
        {"tokens": [word], "ner_tags": tags, name: key}
        for word, tags, key in [
            ("one", ["O"], "a"),
            ("two", None, "a"),
            ("three", ["O"], "a"),
            ("four", ["O"], 7),
        ]
    ]
    column = "story" if name == "story" else None
    path = write(rows)
    documents = Documents(column, 9)
    content = load_words(path, word_column=None, tag_column=None, documents=documents)
    data = read_words(
        [(path, content)], word_column=None, tag_column=None, strict=False, documents=documents
    )
    assert around(data) == [" | one | two three", "one two | three | ", " | four | "]
    assert [problem.what for problem in data.problems] == [
        "no label, but other rows have one; it is left out"
    ]


def test_files_are_documents_of_their_own(write: Callable[..., str]) -> None:
    documents = Documents(None, 9)
    paths = [write("-DOCSTART-\n\none O\n", "a.conll"), write("-DOCSTART-\n\ntwo O\n", "b.conll")]
    data = read_words(
        [(p, load_words(p, word_column=None, tag_column=None, documents=documents)) for p in paths],
        word_column=None,
        tag_column=None,
        strict=True,
        documents=documents,
    )
    assert around(data) == [" | one | ", " | two | "]


ROW = {"tokens": ["one"], "ner_tags": ["O"]}


@pytest.mark.parametrize(
    ("content", "name", "column", "message"),
    [
        (
            "one O\n\ntwo O\n",
            "a.conll",
            None,
            ": --document_context: no -DOCSTART- line says where a document begins; put one before "
            "each document, or give --document_context no",
        ),
        (
            "-DOCSTART-\n\none O\n",
            "a.conll",
            "0",
            ": --document_column_name 0 is for rows; in CoNLL files -DOCSTART- lines say where "
            "documents begin: leave it out",
        ),
        (
            [ROW],
            "a.json",
            None,
            ": --document_context: no column says which document a row is of; it has tokens, "
            "ner_tags; name it with --document_column_name, or give --document_context no",
        ),
        ([ROW], "a.json", "story", ': no column "story"; it has tokens, ner_tags'),
        (
            [{**ROW, "doc": "a"}, {**ROW, "doc": "b"}, {**ROW, "doc": "a"}],
            "a.json",
            None,
            ": row 2: a sentence of the document a, which has begun before another one; "
            "--document_context needs the sentences of a document one behind the other",
        ),
        (
            [{**ROW, "doc": 1.5}],
            "a.json",
            None,
            ': row 0: field "doc" is float, expected str or int',
        ),
    ],
)
def test_what_says_nothing_of_documents_is_refused(
    write: Callable[..., str], content: Any, name: str, column: str | None, message: str
) -> None:
    path = write(content, name)
    with pytest.raises(InputError) as caught:
        read(path, column=column)
    assert str(caught.value) == path + message


def test_fingerprints_tell_contexts_apart_and_stay_what_they_were() -> None:
    """A run that was begun before there was context has the repr of its examples in its record."""
    alone = WordsExample("row", ("a",), ("O",))
    assert repr(alone) == "WordsExample(words=('a',), tags=('O',))"
    assert repr(WordsExample("row", ("a",), None)) == "WordsExample(words=('a',), tags=None)"
    around = [WordsExample("row", ("a",), ("O",), *x) for x in ((("b",), ()), ((), ("b",)))]
    assert len({repr(alone), *map(repr, around)}) == 3


def test_a_column_says_nothing_without_context() -> None:
    with pytest.raises(InputError, match="goes with --document_context True alone"):
        TaggingEvalOptions(document_column_name="doc")


def encoded(tokenizer: Any, example: WordsExample, **options: Any) -> list[str]:
    """The windows, with the labels of words: the number of each in its sentence."""
    defaults: dict[str, Any] = {"max_length": 10, "stride": 2, "inside": None}
    defaults["document_context"] = True
    features = encode_words(
        [example], tokenizer, targets=[np.arange(len(example.words))], **defaults | options
    )
    found = []
    for m in range(len(features)):
        part = slice(*features.bounds[m : m + 2])
        names = tokenizer.convert_ids_to_tokens(features.tokens["input_ids"][part].tolist())
        labels = features.tokens["labels"][part].tolist()
        numbers = features.host["word"][part].tolist()
        assert [max(label, -1) for label in labels] == numbers
        marked = [f"{n}={x}" if x >= 0 else n for n, x in zip(names, numbers, strict=True)]
        found.append(" ".join(marked[1:-1]))
    return found


def example(before: str, words: str, after: str) -> WordsExample:
    return WordsExample(
        "row", tuple(words.split()), None, *map(tuple, map(str.split, (before, after)))
    )


# The vocabulary has letters, and "the", "of", "who", "is" as whole words.
@pytest.mark.parametrize(
    ("before", "after", "window"),
    [
        ("the of the of the", "is who is who is", "the of the the=0 of=1 is who is"),
        # A side that is short leaves its room to the other one.
        ("the", "is who is who is who", "the the=0 of=1 is who is who is"),
        ("the of the of the of", "", "the of the of the of the=0 of=1"),
        ("", "is who is who is who is", "the=0 of=1 is who is who is who"),
        ("", "", "the=0 of=1"),
        ("of", "is", "of the=0 of=1 is"),
        ("the of the of", "abc abc", "of the of the=0 of=1 a ##b ##c"),
        # Words are whole: where the next one does not fit, the other side has the room.
        ("the of the of", "abcd abcd", "the of the of the=0 of=1"),
        ("the abcd", "is who is who is", "the=0 of=1 is who is who is"),
        ("abcd the of", "abc", "the of the=0 of=1 a ##b ##c"),
    ],
)
def test_windows_are_filled_up_on_both_sides(
    tokenizer: Any, before: str, after: str, window: str
) -> None:
    assert encoded(tokenizer, example(before, "the of", after)) == [window]


def test_windows_of_a_long_sentence_are_filled_up_too(tokenizer: Any) -> None:
    """With its own words where these are nearest. Who predicts what is as without context."""
    words = "the of the of abc the of"
    assert encoded(tokenizer, example("is who", words, "who is"), max_length=8) == [
        "is who the=0 of=1 the=2 of",
        "the of=3 a=4 ##b ##c the=5",
        "the of=6 who is",
    ]
    alone = example("", words, "")
    assert encoded(tokenizer, alone, max_length=8)[-1] == "of a ##b ##c the of=6"
    assert encoded(tokenizer, alone, max_length=8, document_context=False)[-1] == "the of=6"


def test_the_log_says_how_much_is_read_around(tokenizer: Any) -> None:
    features = encode_words(
        [example("the", "of is", "who who"), example("", "of", "")],
        tokenizer,
        max_length=10,
        stride=2,
        targets=None,
        inside=None,
        document_context=True,
    )
    assert features.notes == (
        "2 windows of 2 sentences (max_seq_length 10, doc_stride 2)",
        "1.5 tokens of its document beside a window's own, on average",
    )


@settings(max_examples=150)
@given(
    documents=st.lists(
        st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=9), min_size=1, max_size=5),
        min_size=1,
        max_size=3,
    ),
    room=st.integers(2, 14),
    label_all=st.booleans(),
)
def test_every_word_once_within_its_document(
    tokenizer: Any, documents: list[list[list[int]]], room: int, label_all: bool
) -> None:
    """Each document has a letter of its own, and each of its words is a row of that letter."""
    examples, owners = [], []
    for letter, sentences in zip("abc", documents, strict=False):
        words = [[letter * min(n, room) for n in sentence] for sentence in sentences]
        for own, (before, after) in zip(words, neighbours(words, room), strict=True):
            examples.append(WordsExample("row", tuple(own), None, before, after))
            owners.append(letter)
    features = encode_words(
        examples,
        tokenizer,
        max_length=room + 2,
        stride=(room - 1) // 4,
        targets=[np.arange(len(e.words)) for e in examples],
        inside=np.arange(9) if label_all else None,
        document_context=True,
    )
    assert int(features.lengths.max()) <= room + 2
    for n, e in enumerate(examples):
        found: list[int] = []
        labelled = 0
        for m in np.flatnonzero(features.example == n):
            part = slice(*features.bounds[m : m + 2])
            names = tokenizer.convert_ids_to_tokens(features.tokens["input_ids"][part].tolist())
            assert {name.strip("#") for name in names[1:-1]} == {owners[n]}
            here = features.host["word"][part]
            labels = features.tokens["labels"][part]
            assert np.array_equal(labels[here >= 0], here[here >= 0])
            found += here[here >= 0].tolist()
            labelled += int((labels >= 0).sum())
            # The words around those that are predicted here, as far as they are in the window.
            whole = [*e.before, *e.words, *e.after]
            first = int(np.flatnonzero(here >= 0)[0])
            word = len(e.before) + int(here[first])
            before = int(first) - 1
            while before > 0:
                word -= 1
                before -= len(whole[word])
            left = [*whole[:word]]
            inside = len(names) - 2
            while inside > 0:
                inside -= len(whole[word])
                word += 1
            assert before == inside == 0  # whole words alone
            # No further word would fit, on neither side.
            spare = room + 2 - len(names)
            assert not left or len(left[-1]) > spare
            assert word == len(whole) or len(whole[word]) > spare
        assert found == list(range(len(e.words)))
        wanted = sum(map(len, e.words)) if label_all else len(e.words)
        assert labelled == wanted


def test_parts_are_as_the_whole_and_settings_decide(
    tokenizer: Any, write: Callable[..., str]
) -> None:
    cfg = BertConfig(id2label=("O",))
    task = Tagging(TaggingOptions(document_context=True, max_seq_length=12))
    assert task.documents == Documents(None, 12)
    assert Tagging(TaggingOptions()).documents is None
    path = write(CONLL, "a.conll")
    given = task.read([(path, task.load(path))]).examples
    whole = task.encode(given, tokenizer, cfg)
    parts = [task.encode_part([e], tokenizer, cfg) for e in given]
    joined = task.join_parts(parts, given, tokenizer)
    tokens = np.concatenate([part.tokens["input_ids"] for part in joined])
    assert np.array_equal(tokens, whole.tokens["input_ids"])
    alone = Tagging(TaggingOptions(max_seq_length=12))
    read = alone.read([(path, alone.load(path))]).examples
    assert alone.encode(read, tokenizer, cfg).lengths.sum() < whole.lengths.sum()
