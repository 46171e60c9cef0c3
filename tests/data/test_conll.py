"""CoNLL: one width a file, comments that are no words, #words that are none, and no prose."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import public_data

from jaxbert.data.conll import read_conll
from jaxbert.errors import InputError


def read(path: str, word: str | None = None, tag: str | None = None) -> list[list[str]]:
    """Of each sentence its words with their tags, as word/tag, between spaces."""
    table = read_conll(path, word_column=word, tag_column=tag)
    names = word or "words", tag or "tags"
    pairs = [zip(row[names[0]], row.get(names[1], [""] * 99), strict=False) for row in table]
    return [[f"{one}/{other}".rstrip("/") for one, other in sentence] for sentence in pairs]


def refusal(path: str, *columns: str) -> str:
    with pytest.raises(InputError) as caught:
        read(path, *columns)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


SENTENCE = [["Tea/B-X", "is/O"]]


@pytest.mark.parametrize(
    "text",
    [
        "# id 31-b\tdomain=en\nTea _ _ B-X\nis _ _ O\n",  # MultiCoNER: a tab in the comment alone
        "# id 31-b domain=en\nTea _ _ B-X\nis _ _ O\n",  # as wide as the data
        "# sent_id = 4\n# text = Tea is.\nTea\tB-X\nis\tO\n",
        "# newdoc\nTea B-X\nis O\n",  # two fields, as the data
        "#\nTea B-X\nis O\n",
        "# \nTea B-X\nis O\n",
        "#\thttp://a.example\t[2001-01-01]\n1\tTea\tB-X\tO\n2\tis\tO\tO\n",  # GermEval
        "#begin document (nw/a/00); part 000\nTea B-X\nis O\n\n#end document\n",
        "#begin document (nw/a/00); part 000\nTea B-X\nis O\n#end document\n",
        "-DOCSTART- -X- O\n\n# text = a\nTea B-X\nis O\n",
        "# text = a b c\r\nTea B-X\r\nis O\r\n",
    ],
)
def test_comments_are_no_words(write: Callable[..., str], text: str) -> None:
    columns = ("1", "2") if text.startswith("#\thttp") else ()
    assert read(write(text, "a.conll"), *columns) == SENTENCE
    more = read(write(f"{text}\n{text}", "a.conll"), *columns)
    assert more == SENTENCE * 2


def test_comments_are_counted(write: Callable[..., str]) -> None:
    path = write("# id 1 a=b\nTea B-X\n\n# id 2 a=b\nis O\n", "a.conll")
    table = read_conll(path, word_column=None, tag_column=None)
    assert table.notes == [f"{path}: 2 comment lines skipped, the first is line 1: # id 1 a=b"]
    assert [row.line for row in table] == [2, 5]  # type: ignore[attr-defined]
    assert read_conll(write("a O\n", "a.conll"), word_column=None, tag_column=None).notes == []


@pytest.mark.parametrize("separator", ["\t", " "])
def test_words_with_a_number_sign(write: Callable[..., str], separator: str) -> None:
    words = ["#tea/B-X", "#/O", "##/O", "#1/B-X", "is/O", "#/SYM", "#end/O", "#begin/O"]
    text = "\n".join(word.replace("/", separator) for word in words)
    assert read(write(text, "a.conll")) == [words]
    # At the head of a sentence a lone # is a word with a tag of the others, or with one like them.
    assert read(write("a O\n\n# O\nb O\n".replace(" ", separator), "a.conll"))[1] == ["#/O", "b/O"]
    assert read(write("a O\n\n# B-Y\nb O\n".replace(" ", separator), "a.conll"))[1] == [
        "#/B-Y",
        "b/O",
    ]
    assert read(write("a O\n\n# O\n\n# O\n".replace(" ", separator), "a.conll"))[1:] == [
        ["#/O"],
        ["#/O"],
    ]
    assert read(write("#\n#tea\na\n", "a.conll")) == [["#", "#tea", "a"]]  # no tags


def test_a_file_of_number_signs_alone(write: Callable[..., str]) -> None:
    assert read(write("# O\n# O\n", "a.conll")) == [["#/O", "#/O"]]
    assert read(write("#\tNN\n", "a.conll")) == [["#/NN"]]
    assert read(write("# text = a b\n", "a.conll")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Tea B-X\nNew York B-LOC\nis O\n",
            "line 2 has 3 columns, expected 2 as in line 1; if a word contains a space, separate "
            "the columns with tabs",
        ),
        ("Tea\tB-X\nis\tO\n1\t000\tO\n", "line 3 has 3 columns, expected 2 as in line 1, with a"),
        ("Tea\tB-X\nNew York B-LOC\n", "line 2 has 3 columns, expected 2 as in line 1; if a word"),
        ("a _ _ O\nb _ O\nc _ _ O\n", "line 2 has 3 columns, expected 4 as in line 1, with a tab"),
        ("a O\n\n\nb O x\n", "line 4 has 3 columns, expected 2 as in line 1"),
        ("a\nb O\nc\n", "line 2 has 2 columns, expected 1 as in line 1; if a word contains a sp"),
        ("a O\nb O\n# 1 O\n", "line 3 has 3 columns, expected 2 as in line 1; a comment begins"),
        ("a O\n#b\nc O\n", "line 2 has 1 column, expected 2 as in line 1; a comment begins with"),
        ("a O\n#New York B-X\n", "line 2 has 3 columns, expected 2 as in line 1; a comment begin"),
    ],
)
def test_a_line_of_another_width(write: Callable[..., str], text: str, message: str) -> None:
    assert refusal(write(text, "a.conll")).startswith(message)
    if "expected 1 " not in message:
        assert refusal(write(text, "a.conll"), "0", "-1").startswith(message)


def test_prose_is_no_conll(write: Callable[..., str]) -> None:
    prose = "Tea was grown in the hills of Assam.\nIt was cheap.\n\nThen it was sold in London.\n"
    message = refusal(write(prose, "a.txt"))
    assert message.startswith("not CoNLL: its lines have 8, 3, 6 fields; CoNLL has a word and its")
    many = "\n".join("word " * n for n in range(1, 12))
    assert refusal(write(many, "a.conll")).startswith(
        "not CoNLL: its lines have 1, 2, 3, 4, 5, ... fields;"
    )
    # One bad line of many is named as a line.
    assert refusal(write("a O\n" * 5 + prose, "a.conll")).startswith("line 6 has 8 columns")


def test_conllu_has_comments_anywhere(write: Callable[..., str]) -> None:
    rows = "\t".join(["1", "a", "a", "X", *"______"]), "\t".join(["2", "#", "#", "SYM", *"______"])
    text = f"# text = a b c d e f g h i\n{rows[0]}\n# note\n{rows[1]}\n"
    assert read(write(text, "a.conllu")) == [["a/X", "#/SYM"]]


@pytest.mark.parametrize(
    ("name", "hashtags"), [("wnut17_train", 800), ("weibo_ner_train", 200), ("pos_ewt_train", 1)]
)
def test_public_data_has_no_comments(name: str, hashtags: int) -> None:
    path = public_data(f"{name}.conll")
    table = read_conll(str(path), word_column=None, tag_column=None)
    assert table.notes == []
    text = path.read_text(encoding="utf-8").split("\n")
    words = [line.split("\t")[0] for line in text if line]
    assert [word for row in table for word in row["words"]] == words
    assert sum(word.startswith("#") for word in words) >= hashtags
