"""CoNLL files and rows to sentences with tags: columns, odd characters, every fault named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import public_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.rows import Data, Problem
from jaxbert.data.words import WordsExample, load_words, read_words
from jaxbert.errors import InputError

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def read(path: str, word: str | None = None, tag: str | None = None) -> Data[WordsExample]:
    content = load_words(path, word_column=word, tag_column=tag)
    return read_words([(path, content)], word_column=word, tag_column=tag, strict=True)


def plain(data: Data[WordsExample]) -> list[list[tuple[str, str]]]:
    """The pairs of word and tag of each sentence."""
    return [list(zip(e.words, e.tags or (), strict=True)) for e in data.examples]


def rows(*rows: Any, **options: Any) -> Data[WordsExample]:
    defaults: dict[str, Any] = {"word_column": None, "tag_column": None, "strict": False}
    return read_words([("x.json", list(rows))], **{**defaults, **options})


def refusal(read: Any, *args: Any, **options: Any) -> str:
    """The message of the InputError behind the origin; it is one line."""
    if read is rows:  # whose faults are reported by default
        options = {"strict": True, **options}
    with pytest.raises(InputError) as caught:
        read(*args, **options)
    message = str(caught.value)
    origin = args[0] if args and isinstance(args[0], str) else "x.json"
    assert message.startswith(f"{origin}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{origin}: ")


# --- CoNLL ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv", "a.bio", "words"])
def test_sentences_of_words(write: Callable[..., str], name: str, newline: str, end: str) -> None:
    lines = ["-DOCSTART- -X- O", "", "In\tO", "Assam\tB-LOC", "", " \t ", "New York\tB-LOC"]
    text = newline.join([*lines, "", "", "Tea   O "]) + end.replace("\n", newline)
    path = write("\ufeff" + text, name)
    assert read(path).examples == (
        WordsExample(f"{path}: line 3", ("In", "Assam"), ("O", "B-LOC")),
        WordsExample(f"{path}: line 7", ("New York",), ("B-LOC",)),
        WordsExample(f"{path}: line 10", ("Tea",), ("O",)),
    )


def test_words_of_unusual_characters(write: Callable[..., str]) -> None:
    odd = ["\xa0", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\u200b", "\u3000", "\ufeff"]
    odd += ["#", "# ", "-", "a\u2028b", "\u200b\u200d", "\U0001f600", "1-2", '"']
    expected = [[(word, f"T{n}") for n, word in enumerate(odd) if word != "# "]]
    for separator in ("\t", " ", "  "):
        lines = [f"{word}{separator}{tag}" for word, tag in expected[0]]
        assert plain(read(write("\n".join(lines), "a.conll"))) == expected
    # Between tabs a space is a word.
    assert plain(read(write(" \tO\n a b \t O \n\xa0\tO", "a.conll"))) == [
        [(" ", "O"), ("a b", "O"), ("\xa0", "O")]
    ]


def test_columns_by_number(write: Callable[..., str]) -> None:
    path = write("EU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nGerman JJ I-NP B-MISC\n", "a.conll")
    words = [["EU", "rejects"], ["German"]]
    tags = {"1": [["NNP", "VBZ"], ["JJ"]], "3": [["B-ORG", "O"], ["B-MISC"]]}
    for number, expected in {**tags, "-3": tags["1"], "-1": tags["3"], None: tags["3"]}.items():
        for word in (None, "0", "-4"):
            data = read(path, word, number)
            assert [list(e.words) for e in data.examples] == words
            assert [list(e.tags or ()) for e in data.examples] == expected
    assert plain(read(path, "1", "0"))[1] == [("JJ", "German")]
    assert refusal(read, path, "tokens").startswith(
        'a CoNLL column is named by its number, and "tok'
    )
    for pair in (("0", "0"), ("1", "-3"), ("3", None), ("-1", None)):
        assert refusal(read, path, *pair).startswith("line 1: word and tag are the same column")


def test_docstart_ends_a_sentence_and_needs_no_columns(write: Callable[..., str]) -> None:
    path = write("a O\n-DOCSTART-\nb O\n-DOCSTART-\tO\n\n-DOCSTART-x\tO\n", "a.conll")
    assert plain(read(path)) == [[("a", "O")], [("b", "O")], [("-DOCSTART-x", "O")]]


def test_conllu(write: Callable[..., str]) -> None:
    lines = [
        "# sent_id = 1",
        "# text = I don't.",
        "1\tI\tI\tPRON\tPRP\t_",
        "2-3\tdon't\t_\t_\t_\t_",
        "2\tdo\tdo\tAUX\tVBP\t_",
        "3\tn't\tnot\tPART\tRB\t_",
        "3.1\tgo\tgo\tVERB\t_\t_",
        "",
        "#",
        "1\t2 000\t2000\tNUM\tCD\t_",
        "",
    ]
    path = write("\n".join(lines), "a.conllu")
    assert plain(read(path)) == [
        [("I", "PRON"), ("do", "AUX"), ("n't", "PART")],
        [("2 000", "NUM")],
    ]
    assert [e.where for e in read(path).examples] == [f"{path}: line 3", f"{path}: line 10"]
    assert plain(read(path, "2", "4"))[1] == [("2000", "CD")]
    assert refusal(read, write("1\ta\tb\n", "b.conllu")).startswith("line 1 has 3 columns, expec")


def test_words_without_tags(write: Callable[..., str]) -> None:
    path = write("In\nAssam\n\nTea\n", "a.conll")
    assert [(e.words, e.tags) for e in read(path).examples] == [
        (("In", "Assam"), None),
        (("Tea",), None),
    ]
    assert refusal(read, path, None, "1").startswith("line 1 has 1 column, expected at least 2")
    assert refusal(read, path, "1").startswith("line 1 has 1 column, expected at least 2")
    assert refusal(read, path, None, "-1").startswith("line 1 has 1 column, expected at least 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\n\nb\nc O\n", "line 3 has 1 column, expected 2 as in line 1, with a tab or spaces"),
        ("a O\n O\n", "line 2 has 1 column, expected 2 as in line 1"),
        ("a\tO\n\tO\n", "line 2: column 0 is empty"),
        ("a\tO\nb\t\n", "line 2: column 1 is empty"),
        ("a\tO\n\n\nb\t \n", 'line 4: a tag of column "tags" is empty'),
        ("", "no sentence in it"),
        ("\ufeff\r\n \n\t\n-DOCSTART-\n", "no sentence in it"),
        ("a O\rb O\rc O\r", "line 1 has a carriage return inside"),
        ("a O\nb\0O\n", "line 2 has a NUL byte"),
        (b"a O\n\xff O\n", "line 2 is not UTF-8"),
    ],
)
def test_faults_are_named_with_their_line(
    write: Callable[..., str], text: str | bytes, message: str
) -> None:
    assert refusal(read, write(text, "a.conll")).startswith(message)


def test_missing_file(tmp_path: Path) -> None:
    for name in ("a.conll", "a.json"):
        assert refusal(read, str(tmp_path / name)) == "no such file"


def test_a_sentence_of_thousands_of_words(write: Callable[..., str]) -> None:
    data = read(write("word O\n" * 20_000, "a.conll"))
    assert [len(e.words) for e in data.examples] == [20_000]


WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\r\n "), min_size=1, max_size=5
).filter(lambda word: word not in ("-DOCSTART-", "#"))
SENTENCES = st.lists(
    st.lists(st.tuples(WORDS, WORDS.filter(lambda tag: bool(tag.strip()))), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


@unhurried
@given(
    sentences=SENTENCES,
    separator=st.sampled_from(["\t", " "]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read(
    folder: Path, sentences: list[list[tuple[str, str]]], separator: str, newline: str
) -> None:
    path = folder / "any.conll"
    lines = [[separator.join(pair) for pair in pairs] for pairs in sentences]
    # The first U+FEFF of a file is its byte-order mark.
    text = "\ufeff" + newline.join(newline.join([*part, ""]) for part in lines)
    path.write_bytes(text.encode())
    data = read(str(path))
    assert plain(data) == sentences
    at = [text[: text.index(newline.join(part))].count("\n") + 1 for part in lines[:1]]
    assert [e.where for e in data.examples[:1]] == [f"{path}: line {n}" for n in at]


# --- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["tokens", "words", "text"])
@pytest.mark.parametrize("tags", ["ner_tags", "pos_tags", "tags", "labels", "upos"])
def test_known_columns_are_found(words: str, tags: str) -> None:
    row = {"id": 3, words: ["In", "Assam"], tags: ["O", "B-LOC"]}
    assert rows(row) == Data((WordsExample("x.json: row 0", ("In", "Assam"), ("O", "B-LOC")),))


def test_the_order_in_which_columns_are_looked_for() -> None:
    row = {"text": "a b", "words": ["a"], "pos_tags": ["X"], "ner_tags": ["O"]}
    assert plain(rows(row)) == [[("a", "O")]]
    assert plain(rows({**row, "tokens": ["b"]}, tag_column="pos_tags")) == [[("b", "X")]]
    assert plain(rows({**row, "pieces": ["c"]}, word_column="pieces")) == [[("c", "O")]]
    assert rows({"tokens": ["a"]}).examples[0].tags is None
    assert refusal(rows, row, word_column="none").startswith('no column "none"; it has text, words')
    assert refusal(rows, row, tag_column="none").startswith('no column "none"; it has text, words')
    message = refusal(rows, {"text": "a b", "tags": ["O"]})
    assert message.startswith("no column is known to hold words; it has text, tags; ")


@pytest.mark.parametrize("tags", ["ner", "pos", "chunk", "chunk_tags"])
def test_tags_named_as_in_conll_2003(tags: str) -> None:
    assert plain(rows({"words": ["a"], tags: ["X"], "other": ["Y"]})) == [[("a", "X")]]


def test_other_columns_as_run_ner_takes_them() -> None:
    """The first and the second column of lists."""
    row = {"pieces": ["In", "Assam"], "kinds": ["O", "LOC"]}
    data = rows(row, {**row, "kinds": None}, row)
    assert plain(data) == [[("In", "O"), ("Assam", "LOC")]] * 2
    note = 'x.json: words are in the column "pieces" and tags are in the column "kinds"'
    assert data.notes == (note,)
    # What is no list is no column of words: run_ner would take the id.
    data = rows({"id": 7, "text": "In Assam", **row})
    assert plain(data) == [[("In", "O"), ("Assam", "LOC")]]
    assert plain(rows({"tokens": ["a"], "kinds": ["O"]})) == [[("a", "O")]]
    assert plain(rows({"pieces": ["a"], "tags": ["O"]})) == [[("a", "O")]]
    assert rows({"tokens": ["a"], "tags": ["O"]}).notes == ()
    # Lists of other lengths are no tags.
    assert rows({"tokens": ["a", "b"], "spans": []}).examples[0].tags is None
    assert rows({"tokens": ["a", "b"], "boxes": [[0, 1], [1, 2]]}).examples[0].tags is None


def test_one_column_for_words_and_tags() -> None:
    row = {"tokens": ["a"], "tags": ["O"]}
    message = refusal(rows, row, tag_column="tokens")
    assert message.startswith('column "tokens" cannot hold both the words and the tags; name both')


def test_tags_that_are_whole_floats() -> None:
    row = {"tokens": ["a", "b"], "tags": [1.0, -0.0]}
    assert plain(rows(row, {**row, "tags": [1, 0]})) == [[("a", "1"), ("b", "0")]] * 2
    gaps = {**row, "tags": [float("nan"), None]}
    data = rows(row, gaps)
    assert len(data.examples) == 1
    assert data.problems[0].what.startswith("no label, but other rows have one")
    message = refusal(rows, row, {**row, "tags": [1.0, 2.5]})
    assert message == 'row 1: item 1 of column "tags" is float, expected str or int'


def test_sentences_whose_tags_can_none_be_used() -> None:
    faulty = {"tokens": ["a", "b"], "tags": ["O"]}
    bare: dict[str, Any] = {"tokens": ["a"], "tags": None}
    assert refusal(rows, faulty, bare, strict=False) == "row 0: 2 words and 1 tags"
    assert rows(bare, {"tokens": [], "tags": None}).examples[0].tags is None


def test_rows_in_every_container(write: Callable[..., str], tmp_path: Path) -> None:
    import datasets

    content = [{"tokens": ["In", "Assam"], "ner_tags": ["O", "LOC"]}]
    table = datasets.Dataset.from_dict(
        {"tokens": [["In", "Assam"]], "ner_tags": [[0, 1]]},
        features=datasets.Features(
            {
                "tokens": datasets.List(datasets.Value("string")),
                "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "LOC"])),
            }
        ),
    )
    table.save_to_disk(str(tmp_path / "saved"))
    for path in (
        write(json.dumps(content), "a.json"),
        write(json.dumps(content[0]), "a.jsonl"),
        str(tmp_path / "saved"),
    ):
        assert plain(read(path)) == [[("In", "O"), ("Assam", "LOC")]]


def test_numbers_become_their_digits() -> None:
    assert plain(rows({"tokens": ["In", 1838], "tags": [0, 12]})) == [[("In", "0"), ("1838", "12")]]


@pytest.mark.parametrize("column", ["tokens", "tags"])
def test_rows_of_the_wrong_type(column: str) -> None:
    row = {"tokens": ["a", "b"], "tags": ["O", "O"]}
    for value in (None, 1.5, True, ["a"]):
        message = refusal(rows, row, {**row, column: ["a", value]})
        assert message.startswith(
            f'row 1: item 1 of column "{column}" is {type(value).__name__}, expected'
        )
    for value in ("a b", 3, {"a": 1}):
        message = refusal(rows, row, {**row, column: value})
        assert message == f'row 1: field "{column}" is {type(value).__name__}, expected list'
    assert refusal(rows, row, {"tags": ["O"]}) == 'row 1: no field "tokens"; it has tags'


def test_words_and_tags_of_different_number() -> None:
    assert refusal(rows, {"tokens": ["a", "b"], "tags": ["O"]}) == "row 0: 2 words and 1 tags"
    assert refusal(rows, {"tokens": ["a"], "tags": []}) == "row 0: 1 words and 0 tags"
    assert refusal(rows, {"tokens": [], "tags": ["O"]}) == "row 0: 0 words and 1 tags"
    assert "is empty" in refusal(rows, {"tokens": ["a"], "tags": [" "]})


def test_tags_of_all_sentences_or_of_none() -> None:
    row = {"tokens": ["a", "b"], "tags": ["O", "O"]}
    bare: list[Any] = [{**row, "tags": None}, {**row, "tags": [None, None]}, {"tokens": ["a"]}]
    assert [e.tags for e in rows(*bare).examples] == [None] * 3
    for other in bare:
        assert refusal(rows, row, other, row).startswith("row 1: no label, but other rows have")


def test_empty_sentences_are_left_out() -> None:
    row = {"tokens": ["a"], "tags": ["O"]}
    empty: dict[str, Any] = {"tokens": [], "tags": []}
    data = rows(empty, row, {"tokens": [], "tags": None})
    what = "the sentence has no words; it is left out"
    assert plain(data) == [[("a", "O")]]
    assert data.problems == tuple(Problem(f"x.json: row {n}", what, True) for n in (0, 2))
    assert refusal(rows, row, empty) == "row 1: the sentence has no words"
    assert refusal(rows, empty, strict=False) == "row 0: the sentence has no words"
    assert refusal(rows) == "no sentence in it"


def test_lone_surrogates() -> None:
    row = {"tokens": ["a\ud83d", "b"], "tags": ["O", "\udf75"]}
    data = rows(row)
    assert plain(data) == [[("a\ufffd", "O"), ("b", "\ufffd")]]
    assert [p.what for p in data.problems] == ["lone surrogates in the text; replaced by U+FFFD"]
    assert refusal(rows, row, strict=True).endswith("(--strict)")


# --- whatever a file holds --------------------------------------------------------------------


def sound(data: Data[WordsExample]) -> bool:
    """Every sentence has words, all with tags or none, and every text is as Unicode wants it."""
    for e in data.examples:
        if not e.words or len(e.words) != len(e.words if e.tags is None else e.tags):
            return False
        "".join([*e.words, *(e.tags or ())]).encode()
    return len({e.tags is None for e in data.examples}) == 1


@unhurried
@given(
    content=st.binary(max_size=30) | st.text("a1#-. \t\n\r\u2028", max_size=30).map(str.encode),
    name=st.sampled_from(["any.conll", "any.conllu"]),
    word=st.sampled_from([None, "0", "1", "-1"]),
    tag=st.sampled_from([None, "0", "2", "-1"]),
)
def test_any_bytes_give_sentences_or_one_line(
    folder: Path, content: bytes, name: str, word: str | None, tag: str | None
) -> None:
    path = folder / name
    path.write_bytes(content)
    try:
        data = read(str(path), word, tag)
    except InputError as error:
        message = str(error)
    else:
        assert sound(data)
        assert data.problems == ()
        return
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1


ITEMS = st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "\ud800", "\n"])
COLUMNS = st.sampled_from(["tokens", "text", "tags", "ner_tags"])
LISTS = ITEMS | st.lists(st.sampled_from(["a", "b", "\ud800"]), max_size=2) | st.lists(ITEMS)


@unhurried
@given(content=st.lists(st.dictionaries(COLUMNS, LISTS), max_size=3) | ITEMS, strict=st.booleans())
def test_any_rows_give_sentences_or_one_line(content: Any, strict: bool) -> None:
    try:
        data = read_words([("x", content)], word_column=None, tag_column=None, strict=strict)
    except InputError as error:
        message = str(error)
    else:
        assert sound(data)
        assert not (strict and data.problems)
        return
    assert message.startswith("x: ")
    assert len(message.splitlines()) == 1


# --- public data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "tags"),
    [
        ("pos_ewt_train", 12544, 204577, 17),
        ("pos_ewt_dev", 2001, 25147, 17),
        ("wnut17_train", 3394, 62730, 13),
        ("wnut17_dev", 1009, 15733, 13),
        ("weibo_ner_train", 1270, 70514, 17),
        ("weibo_ner_dev", 262, 14233, 17),
    ],
)
def test_public_data(name: str, sentences: int, tokens: int, tags: int) -> None:
    path = public_data(f"{name}.conll")
    data = read(str(path))
    assert (len(data.examples), data.problems) == (sentences, ())
    assert sum(len(e.words) for e in data.examples) == tokens
    assert len({tag for e in data.examples for tag in e.tags or ()}) <= tags


def test_a_tag_column_that_may_be_missing(tmp_path: Path) -> None:
    """What an evaluation takes over from the training: no tags where there is one column."""
    for text, expected in (("a\n", None), ("a O\n", ("O",))):
        path = tmp_path / "x.conll"
        path.write_text(text, encoding="utf-8")
        content = load_words(str(path), word_column="0", tag_column="-1?")
        data = read_words([("x", content)], word_column="0", tag_column="-1?", strict=False)
        assert data.examples[0].tags == expected
