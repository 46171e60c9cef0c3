"""Data files with faults, read as a training reads them: reported or refused, in both modes.

Each case has its outcome by default and with --strict: the number of examples and of problems, or
what the one line of the InputError says behind the file's name.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_task import OPTIONS
from peak import peak

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.runs.inputs import encode_examples, read_examples, source_of
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def squad(
    *,
    question: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    paragraph: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
) -> bytes:
    """SQuAD's JSON with other fields: one question, or two."""
    first = {"text": "Rome", "answer_start": 6, **(answer or {})}
    qas = [{"id": "q", "question": "Where?", "answers": [first], **(question or {})}]
    if second is not None:
        last = {"text": "It", "answer_start": 0}
        qas.append({"id": "r", "question": "Who?", "answers": [last], **second})
    paragraphs = [{"context": "It is Rome.", "qas": qas, **(paragraph or {})}]
    return json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs}]}).encode()


GOOD = squad()
FLAT = {"id": "a", "question": "b", "context": "c d", "answers": {"text": ["d"]}}
SPOT = "article 0, paragraph 0, question 0"
CHOICE = {"question": "a", "choices": ["b", "c"], "label": 0}
TWO_TEXTS = b'{"text": "b", "label": 0}\n{"text": "c", "label": 1}\n'

# What is refused whatever the mode: task, file name, content, and the message behind the name.
REFUSED: list[tuple[Any, str, bytes, str]] = [
    # SQuAD's JSON
    (QA, "a.json", GOOD[:-20], "not JSON at line 1, column 143"),
    (QA, "a.json", GOOD.replace(b'"data"', b'"data" "x"'), "not JSON at line 1, column 27"),
    (QA, "a.json", b"\xef\xbb\xbf" * 2 + GOOD, "not JSON at line 1, column 1 (Unexpected UTF-8"),
    (QA, "a.json", GOOD.decode().encode("utf-16"), "line 1 is not UTF-8 (byte 0"),
    (QA, "a.json", GOOD.decode().encode("utf-16-be"), "line 1 has a NUL byte; it is UTF-16BE: "),
    (QA, "a.json", GOOD.decode().encode("utf-32-le"), "line 1 has a NUL byte; it is UTF-32LE"),
    (QA, "a.json", GOOD.replace(b"Rome", b"Ro\0e"), "line 1 has a NUL byte"),
    (QA, "a.json", b'{"data":' * 10**6, "nested too deeply"),
    (QA, "a.json", GOOD.replace(b'"It is Rome."', b"[" * 10**6), "nested too deeply"),
    (QA, "a.json", b"null", "expected SQuAD's JSON, found NoneType"),
    (QA, "a.json", b"NaN", "expected SQuAD's JSON, found float"),
    (QA, "a.json", b'{"data": [Infinity]}', "row 0: expected an object, found float"),
    (QA, "a.json", b'{"data": [{"paragraphs": [NaN]}]}', "article 0, paragraph 0: expected an obj"),
    (QA, "a.json", GOOD.replace(b'"q"', b"NaN"), f'{SPOT}: field "id" is float, expected str or'),
    (QA, "a.json", GOOD.replace(b": 6", b": -Infinity"), f'{SPOT} (id q): field "answer_start" is'),
    (
        QA,
        "a.json",
        squad(answer={"answer_start": "6"}),
        f'{SPOT} (id q): field "answer_start" is s',
    ),
    (
        QA,
        "a.json",
        squad(answer={"answer_start": True}),
        f'{SPOT} (id q): field "answer_start" is ',
    ),
    (QA, "a.json", squad(answer={"text": 5}), f'{SPOT}: field "text" is int, expected str'),
    (QA, "a.json", squad(question={"answers": {"text": []}}), f'{SPOT}: field "answers" is dict'),
    (QA, "a.json", squad(question={"id": None}), f'{SPOT}: field "id" is NoneType'),
    (QA, "a.json", squad(question={"question": ["?"]}), f'{SPOT}: field "question" is list'),
    (
        QA,
        "a.json",
        squad(question={"is_impossible": "no"}),
        f'{SPOT}: field "is_impossible" is str',
    ),
    (
        QA,
        "a.json",
        squad(paragraph={"context": 1}),
        'article 0, paragraph 0: field "context" is int',
    ),
    (QA, "a.json", squad(paragraph={"qas": "x"}), 'article 0, paragraph 0: field "qas" is str'),
    (
        QA,
        "a.json",
        GOOD.replace(b'"qas"', b'"q\\n\\u001b"'),
        r'0: no field "qas"; it has context, q',
    ),
    (QA, "a.json", b'{"data": [{"\\ud800\\u001b[2J": 1}]}', r"and has \ud800\x1b[2J"),
    # JSON Lines
    (QA, "a.jsonl", lines(FLAT) + b'{"id": "b', "not JSON at line 2, column 8"),
    (
        QA,
        "a.jsonl",
        lines(FLAT | {"answers": {"text": ["d"], "answer_start": []}}),
        "line 1: 1 ans",
    ),
    (QA, "a.jsonl", lines({"id": "b", "question": "c"}), "line 1: not a form that is known"),
    (Classification, "a.jsonl", TWO_TEXTS + b'{"text"}\n', "not JSON at line 3, column 8"),
    (Classification, "a.jsonl", TWO_TEXTS + b"\xff\xfe\n", "line 3 is not UTF-8"),
    (Classification, "a.jsonl", b'{"text":' * 10**5, "nested too deeply"),
    (Classification, "a.jsonl", b"\n \n", "no example in it"),
    (
        Regression,
        "a.jsonl",
        b'\n{"text": "a", "label": NaN}\n',
        "line 2: the training data has no l",
    ),
    (Regression, "a.jsonl", b'{"text": "a", "label": -Infinity}\n', 'line 1: label column "label"'),
    (Regression, "a.jsonl", lines({"text": "a", "label": 10**400}), 'line 1: label column "label"'),
    (MultipleChoice, "a.jsonl", lines(CHOICE | {"choices": ["b", ""]}), "line 1: choice 1 of"),
    (
        MultipleChoice,
        "a.jsonl",
        lines(CHOICE | {"choices": {}}),
        'line 1: field "choices" is dict',
    ),
    (
        Tagging,
        "a.jsonl",
        lines({"tokens": ["a", "b"], "tags": ["O"]}),
        "line 1: 2 words and 1 tags",
    ),
    (
        Tagging,
        "a.jsonl",
        b'{"tokens": [NaN], "tags": ["O"]}\n',
        'line 1: item 0 of column "tokens"',
    ),
    (Tagging, "a.jsonl", lines({"tokens": ["a"], "tags": [" "]}), 'line 1: a tag of column "tags"'),
    (MLM, "a.json", b'{"data": [{"paragraphs": [{}]}]}', 'row 0, paragraph 0: no field "context"'),
    # CSV and TSV
    (Classification, "a.csv", b"", "line 1: the file is empty"),
    (
        Classification,
        "a.csv",
        b'text,label\na,1\n"b,2\nc,3\n',
        "line 3: a quoted field begins here",
    ),
    (Classification, "a.csv", b"text,label\na,1\nb\n", "line 3 has 1 column, expected 2"),
    (Classification, "a.csv", b"text,label\na,1\n\nb,2\n", "line 3 is blank"),
    (Classification, "a.csv", b"text,label\na,1\rb,2\n", "line 2: a carriage return inside"),
    (Classification, "a.csv", b"text,label\na,1\n\0,2\n", "line 3 has a NUL byte"),
    (Classification, "a.csv", b"text,\x1b[2J,\x1b[2J\n", r"line 1: two columns are named \x1b[2J"),
    (QA, "a.csv", b"id,question,context\na,b\n", "line 2 has 2 columns, expected 3"),
    (Classification, "a.tsv", b"text\tlabel\na\t1\tb\n", "line 2 has 3 columns, expected 2"),
    (Classification, "a.tsv", "text\tlabel\ncaf\xe9\t1\n".encode("latin-1"), "line 2 is not UTF-8"),
    (Classification, "a.tsv", "text\tlabel\n".encode("utf-16"), "line 1 is not UTF-8 (byte 0"),
    (
        MultipleChoice,
        "a.tsv",
        b"sent1\tsent2\tending0\na\tb\tc\n",
        "line 2: 1 choices, expected at",
    ),
    # CoNLL and text
    (Tagging, "a.conll", b"a O\nb\n", "line 2 has 1 column, expected 2 as in"),
    (Tagging, "a.conll", b"a\tO\nb\t\n", "line 2: column 1 is empty"),
    (Tagging, "a.conll", b"a O\n\0 O\n", "line 2 has a NUL byte"),
    (Tagging, "a.conll", b"a O\nb\xff O\n", "line 2 is not UTF-8 (byte 5"),
    (Tagging, "a.conll", "a O\n".encode("utf-16"), "line 1 is not UTF-8 (byte 0"),
    (Tagging, "a.conll", b"a O\nb O\rc O\n", "line 2 has a carriage return inside"),
    (Tagging, "a.conll", b"-DOCSTART- -X- O\r\n\r\n", "no sentence in it"),
    (Tagging, "a.conllu", b"# text\n1\ta\t_\n", "line 2 has 3 columns, expected at least 4"),
    (MLM, "a.txt", b" \r\n\t\n", "no text in it"),
    (MLM, "a.txt", b"a\nb\0\n", "line 2 has a NUL byte"),
    (MLM, "a.txt", b"a\nb\xff\n", "line 2 is not UTF-8 (byte 3"),
    # Parquet
    (Classification, "a.parquet", b"", "the file is empty"),
    (Classification, "a.parquet", b"PAR1", "the library datasets cannot read it"),
    (QA, "a.parquet", GOOD, "the library datasets cannot read it"),
]

SURROGATE = "lone surrogates in the text; replaced by U+FFFD"
REPAIRED = "the answer 'Rome' is at 6, not"
# What is repaired or left out by default: how many examples remain, and every problem.
REPORTED: list[tuple[Any, str, bytes, int, list[str]]] = [
    (
        QA,
        "a.json",
        squad(answer={"answer_start": 4}),
        1,
        [f"{SPOT} (id q): {REPAIRED} 4; repaired"],
    ),
    (QA, "a.json", squad(answer={"answer_start": -3}), 1, [f"{SPOT} (id q): {REPAIRED} -3"]),
    (
        QA,
        "a.json",
        squad(answer={"answer_start": 10**30}),
        1,
        [f"{SPOT} (id q): {REPAIRED} 1000000"],
    ),
    (
        QA,
        "a.json",
        squad(answer={"text": "Paris"}),
        1,
        [f"{SPOT} (id q): the answer 'Paris' is not"],
    ),
    (
        QA,
        "a.json",
        squad(answer={"text": " "}),
        1,
        [f"{SPOT} (id q): an answer is empty; the question is left out of training"],
    ),
    (QA, "a.json", squad(question={"question": ""}), 1, [f"{SPOT} (id q): the question is empty"]),
    (
        QA,
        "a.json",
        squad(paragraph={"context": ""}),
        1,
        [f"{SPOT} (id q): the paragraph is empty", f"{SPOT} (id q): the answer 'Rome' is not in"],
    ),
    (
        QA,
        "a.json",
        squad(second={"id": "q"}),
        1,
        ["article 0, paragraph 0, question 1 (id q): the id occurs before; this row is left out"],
    ),
    (
        QA,
        "a.json",
        squad(second={"id": "\x1b[2J\n\ud800", "answers": [{"text": "no"}]}),
        2,
        [
            "article 0, paragraph 0, question 1 (id \\x1b[2J \\ufffd): lone surrogates",
            "article 0, paragraph 0, question 1 (id \\x1b[2J \\ufffd): the answer 'no' is not in",
        ],
    ),
    (QA, "a.json", GOOD.replace(b"It is", b"\\ud800t is"), 1, [f"{SPOT} (id q): {SURROGATE}"]),
    (
        QA,
        "a.jsonl",
        lines(FLAT, FLAT | {"id": "b"}, FLAT),
        2,
        ["line 3 (id a): the id occurs before"],
    ),
    (
        QA,
        "a.jsonl",
        lines(FLAT | {"answers": {"text": ["d"], "answer_start": [0]}}),
        1,
        ["line 1 (id a): the answer 'd' is at 2, not 0; repaired"],
    ),
    (
        Classification,
        "a.jsonl",
        TWO_TEXTS + b'{"text": "\\udfff", "label": 0}\n',
        3,
        [f"line 3: {SURROGATE}"],
    ),
    (
        Classification,
        "a.jsonl",
        TWO_TEXTS + b'{"text": "a", "label": "\\ud83d"}\n',
        3,
        [f"line 3: {SURROGATE}"],
    ),
    (
        MultipleChoice,
        "a.jsonl",
        lines(CHOICE | {"question": "\ud800"}),
        1,
        [f"line 1: {SURROGATE}"],
    ),
    (Tagging, "a.jsonl", lines({"tokens": ["\ud800"], "tags": ["O"]}), 1, [f"line 1: {SURROGATE}"]),
    (MLM, "a.jsonl", lines({"text": "a"}, {"text": "\ud800"}), 2, [f"line 2: {SURROGATE}"]),
]

# Files of which a row is left out by default, and the message for it.
LEFT_OUT: list[tuple[Any, str, bytes, str]] = [
    (QA, "a.jsonl", lines(FLAT, [1]), "row 1: expected an object, found list"),
    (
        Classification,
        "a.jsonl",
        TWO_TEXTS + b'{"text": null}\n',
        'line 3: field "text" is NoneType',
    ),
    (Classification, "a.jsonl", TWO_TEXTS + b'{"label": 1}\n', 'line 3: no field "text"; it has l'),
    (Classification, "a.jsonl", TWO_TEXTS + b'{"text": ""}\n', 'line 3: the text of column "text"'),
    (Classification, "a.jsonl", TWO_TEXTS + b'{"text": "a"}\n', "line 3: no label, and other rows"),
    (
        Classification,
        "a.jsonl",
        TWO_TEXTS + b'{"text": "a", "label": Infinity}\n',
        'line 3: label column "label" is of the wrong type: float',
    ),
    (
        Classification,
        "a.jsonl",
        TWO_TEXTS + b'{"text": "a", "label": NaN}\n',
        "line 3: no label, and other rows have one",
    ),
    (MultipleChoice, "a.jsonl", lines(CHOICE, CHOICE | {"label": 2}), "line 2: label column"),
    (
        MultipleChoice,
        "a.jsonl",
        lines(CHOICE, CHOICE | {"label": None}),
        "line 2: no label, and other rows",
    ),
    (MLM, "a.jsonl", lines({"text": "a"}, {"text": 5}), 'line 2: field "text" is int'),
    (
        Classification,
        "a.csv",
        b"text,label\na,1\n,2\nc,0\n",
        'line 3: the text of column "text" is empty',
    ),
    (Classification, "a.csv", b"text,label\na,1\nb,\nc,0\n", "line 3: no label, and other rows"),
    (
        Regression,
        "a.csv",
        b"text,score\na,1\nb,1e400\n",
        "line 3: label column \"score\" is '1e400'",
    ),
    (Regression, "a.csv", b"text,score\na,1\nb,nan\n", "line 3: label column \"score\" is 'nan'"),
    (QA, "a.json", squad(second={"question": None}), 'question 1: field "question" is NoneType'),
    (QA, "a.json", squad(second={"answers": [{"text": 5}]}), 'question 1: field "text" is int'),
    (
        Tagging,
        "a.jsonl",
        lines({"tokens": ["a"], "tags": ["O"]}, {"tokens": [], "tags": []}),
        "line 2: the sentence has no words",
    ),
]

# What looks odd and is no fault: how many examples.
SOUND: list[tuple[Any, str, bytes, int]] = [
    (QA, "a.json", b"\xef\xbb\xbf" + GOOD, 1),
    (QA, "a.json", json.dumps(json.loads(GOOD), indent=1).replace("\n", "\r\n").encode(), 1),
    (QA, "a.json", GOOD.replace(b'"1.1"', b"NaN"), 1),
    (QA, "a.json", GOOD.replace(b"Where", b"W\\u0000ere"), 1),
    (Classification, "a.csv", b"\xef\xbb\xbftext,label\r\na,1\r\nb,0\r\n\r\n", 2),
    (Classification, "a.csv", b"text,label\n" + b"a" * 10**6 + b",1\nb,0\n", 2),
    (Classification, "a.tsv", b'text\tlabel\n"a\t1\nb"\t0\n', 2),
    (Tagging, "a.conll", b"\xef\xbb\xbfa O\r\n\r\nb B\r\n", 2),
    (Tagging, "a.conll", b"a O\n" * 5000, 1),
    (MLM, "a.txt", b"\xef\xbb\xbfa\r\nb\r\n", 2),
    (MLM, "a.txt", b"a\rb\r\rc\r", 3),
    (MLM, "a.txt", "a\u2028b\x85c\n".encode(), 1),
]


def name_of(case: Any) -> str | None:
    """Of the task and the message, where a case says them: the name of the test."""
    return case.name if hasattr(case, "name") else None


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    """A function that writes a file and reads it as training data of a task."""

    def read(task: Any, name: str, content: bytes, strict: bool) -> Any:
        path = tmp_path / name
        path.write_bytes(content)
        options = OPTIONS[task.name](train_file=[str(path)], strict=strict)
        return read_examples(task.from_options(options), source_of(options, "train"))

    return read


def refusal(read: Callable[..., Any], *case: Any) -> str:
    """The message of the InputError behind the file's name; it is one line and not long."""
    with pytest.raises(InputError) as caught:
        read(*case)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    place, found = message.split(f"{case[1]}: ", 1)
    assert Path(place).is_absolute()
    return found


def test_there_are_enough_cases() -> None:
    assert len(REFUSED) + len(REPORTED) + len(LEFT_OUT) >= 60


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("task", "name", "content", "expected"), REFUSED, ids=name_of)
def test_refused_in_both_modes(
    read: Callable[..., Any], task: Any, name: str, content: bytes, expected: str, strict: bool
) -> None:
    found = refusal(read, task, name, content, strict)
    assert expected in found
    assert "--strict" not in found


@pytest.mark.parametrize(("task", "name", "content", "count", "problems"), REPORTED, ids=name_of)
def test_reported_or_strictly_refused(
    read: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    task: Any,
    name: str,
    content: bytes,
    count: int,
    problems: list[str],
) -> None:
    with caplog.at_level("INFO", "jaxbert"):
        data = read(task, name, content, False)
    assert len(data.examples) == count
    assert len(data.problems) == len(problems)
    assert f"{name}: {count} examples" in caplog.text
    for problem, expected in zip(data.problems, problems, strict=True):
        line = f"{problem.where}: {problem.what}"
        assert f"{name}: {expected}" in line
        assert line.isprintable()
        assert line in caplog.text
    repr(data).encode()  # no surrogate is left
    found = refusal(read, task, name, content, True)
    assert found.startswith(problems[0])
    assert found.endswith("(--strict)")


@pytest.mark.parametrize(("task", "name", "content", "expected"), LEFT_OUT, ids=name_of)
def test_left_out_or_strictly_refused(
    read: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    task: Any,
    name: str,
    content: bytes,
    expected: str,
) -> None:
    with caplog.at_level("INFO", "jaxbert"):
        data = read(task, name, content, False)
    assert data.examples
    [problem] = data.problems
    assert expected in f"{problem.where}: {problem.what}"
    assert problem.what.endswith("left out")
    assert f"{problem.where}: {problem.what}" in caplog.text
    assert expected in refusal(read, task, name, content, True)


def test_problems_are_counted(read: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "jaxbert"):
        data = read(QA, "a.jsonl", lines(*[FLAT] * 1000), False)
    assert len(data.problems) == 999
    assert "... 999 problems in all; --strict stops at the first" in caplog.text
    assert len(caplog.text) < 5000


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("task", "name", "content", "count"), SOUND, ids=name_of)
def test_sound_in_both_modes(
    read: Callable[..., Any], task: Any, name: str, content: bytes, count: int, strict: bool
) -> None:
    data = read(task, name, content, strict)
    assert len(data.examples) == count
    assert data.problems == ()


# --- files that are none ----------------------------------------------------------------------

TASKS = [QA, Classification, Regression, MultipleChoice, Tagging, MLM]


@pytest.mark.parametrize("task", TASKS, ids=name_of)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".tsv", ".parquet", ".conll", ".txt", ""])
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, task: Any, suffix: str) -> None:
    folder = tmp_path / f"data{suffix}"
    folder.mkdir()
    options = OPTIONS[task.name](train_file=[str(folder)])
    with pytest.raises(InputError, match=f"data{suffix}: the library datasets cannot read it"):
        read_examples(task.from_options(options), source_of(options, "train"))


@pytest.mark.parametrize("task", TASKS, ids=name_of)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/dev/zero", "a device, not a file"),
        ("/nowhere/data.json", "no such file"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "no file can have such a name"),
        ("\ud800", "no such file|no file can have such a name"),
    ],
    ids=["device", "missing", "long", "NUL", "surrogate"],
)
def test_names_of_no_file(task: Any, name: str, expected: str) -> None:
    options = OPTIONS[task.name](train_file=[name])
    with pytest.raises(InputError, match=expected) as caught:
        read_examples(task.from_options(options), source_of(options, "train"))
    assert len(str(caught.value).splitlines()) == 1


# --- size -------------------------------------------------------------------------------------

WORDS = ["the", "of", "and", "in", "what", "which", "who", "is", "was", "to", "at"]
BYTES = 1_000_000


def long_text(size: int) -> str:
    rng = np.random.default_rng(0)
    return " ".join(rng.choice(WORDS, size))


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder)


def cost(read: Callable[..., Any], tokenizer: Any, task: Any, name: str, content: bytes) -> int:
    """Resident bytes taken to read and encode, over what is allowed: see below."""
    cfg = BertConfig(vocab_size=512, id2label=("0", "1", "O"))
    options = dataclasses.replace(OPTIONS[task.name](), max_seq_length=384)
    peak()
    before = peak()
    data = read(task, name, content, True)
    features = encode_examples(task.from_options(options), data.examples, tokenizer, cfg)
    assert max(features.lengths) == 384
    taken = peak() - before
    return taken - 4 * 17 * int(features.bounds[-1]) - 300 * len(content)


def test_memory_for_long_texts(read: Callable[..., Any], tokenizer: Any) -> None:
    """A paragraph of a megabyte and a question of 5000 words, and as long texts of other tasks.

    A token of a window is 17 bytes of features at most, and building them takes four times as much.
    The tokens of a text, with their names and offsets, are some hundred bytes a character.
    """
    text = long_text(BYTES * 2 // 7)
    assert len(text) > BYTES
    question = FLAT | {"context": text, "question": "who is at " * 1700}
    texts = lines({"text": text, "label": 1}, {"text": "a", "label": 0})
    sentence = "\n".join(f"{word} O" for word in text.split()).encode()
    assert cost(read, tokenizer, QA, "a.jsonl", lines(question)) < 0
    assert cost(read, tokenizer, Classification, "a.jsonl", texts) < 0
    assert cost(read, tokenizer, Tagging, "a.conll", sentence) < 0
    assert cost(read, tokenizer, MLM, "a.txt", text.encode()) < 0


def test_time_for_a_wrong_offset_in_a_run_of_one_character(read: Callable[..., Any]) -> None:
    """Every place of the answer in the paragraph would be half a million."""
    row = FLAT | {"context": "a" * BYTES + "b", "answers": {"text": ["a" * (BYTES // 2)]}}
    row["answers"]["answer_start"] = [BYTES]
    started = time.process_time()
    data = read(QA, "a.jsonl", lines(row), False)
    assert time.process_time() - started < 2.0
    assert len(data.problems) == 1
    assert "but in several places" in data.problems[0].what
