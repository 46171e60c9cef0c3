"""SQuAD's JSON with one fault each, and what the reader says of it: read by test_faulty_files.py.

All are read by QA from a file named a.json. A message is what follows the name of the file.
"""

from __future__ import annotations

import json
from typing import Any


def squad(
    *,
    question: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    paragraph: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
) -> bytes:
    """One question, or two, of one paragraph; the fields that are given replace the sound ones."""
    first = {"text": "Rome", "answer_start": 6, **(answer or {})}
    qas = [{"id": "q", "question": "Where?", "answers": [first], **(question or {})}]
    if second is not None:
        last = {"text": "It", "answer_start": 0}
        qas.append({"id": "r", "question": "Who?", "answers": [last], **second})
    paragraphs = [{"context": "It is Rome.", "qas": qas, **(paragraph or {})}]
    return json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs}]}).encode()


GOOD = squad()

PARAGRAPH = "article 0, paragraph 0"
QUESTION = f"{PARAGRAPH}, question 0"
ANSWER = f"{QUESTION} (id q)"
SECOND = f"{PARAGRAPH}, question 1"
ESCAPED = rf"{SECOND} (id \x1b[2J \ufffd)"

FORMS = "paragraphs (SQuAD), context_text (CMRC2018) or context and question (flat)"
NO_SCORE = "the question is left out of training and kept for scoring"

# Refused by default and with --strict: content, message.
REFUSED: dict[bytes, str] = {
    # not JSON
    GOOD[:-20]: (
        "not JSON at line 1, column 143 (Unterminated string starting at); is the file complete?"
    ),
    GOOD.replace(b'"data"', b'"data" "x"'): (
        "not JSON at line 1, column 27 (Expecting ':' delimiter); is the file complete?"
    ),
    b"\xef\xbb\xbf" * 2 + GOOD: (
        "not JSON at line 1, column 1 (Unexpected UTF-8 BOM (decode using utf-8-sig)); "
        "is the file complete?"
    ),
    GOOD.decode().encode("utf-16"): (
        "line 1 is not UTF-8 (byte 0 of the file); it is UTF-16: "
        "convert it with iconv -f UTF-16 -t UTF-8 a.json > NEW.json"
    ),
    GOOD.decode().encode("utf-16-be"): (
        "line 1 has a NUL byte; it is UTF-16BE: "
        "convert it with iconv -f UTF-16BE -t UTF-8 a.json > NEW.json"
    ),
    GOOD.decode().encode("utf-32-le"): (
        "line 1 has a NUL byte; it is UTF-32LE: "
        "convert it with iconv -f UTF-32LE -t UTF-8 a.json > NEW.json"
    ),
    GOOD.replace(b"Rome", b"Ro\0e"): (
        "line 1 has a NUL byte; most of the file is UTF-8, or it is not text: "
        "is it damaged, or another kind of file?"
    ),
    b'{"data":' * 10**6: "nested too deeply to be a data set",
    GOOD.replace(b'"It is Rome."', b"[" * 10**6): "nested too deeply to be a data set",
    # another form
    b"null": "expected SQuAD's JSON, found NoneType",
    b"NaN": "expected SQuAD's JSON, found float",
    b'{"data": [Infinity]}': "row 0: expected an object, found float",
    b'{"data": [{"paragraphs": [NaN]}]}': f"{PARAGRAPH}: expected an object, found float",
    b'{"data": [{"\\ud800\\u001b[2J": 1}]}': (
        rf"row 0: unknown form; it needs {FORMS}, and has \ud800\x1b[2J"
    ),
    GOOD.replace(b'"qas"', b'"q\\n\\u001b"'): (
        rf'{PARAGRAPH}: no field "qas"; it has context, q \x1b'
    ),
    # a field of another type
    squad(paragraph={"context": 1}): f'{PARAGRAPH}: field "context" is int, expected str',
    squad(paragraph={"qas": "x"}): f'{PARAGRAPH}: field "qas" is str, expected list',
    GOOD.replace(b'"q"', b"NaN"): f'{QUESTION}: field "id" is float, expected str or int',
    squad(question={"id": None}): f'{QUESTION}: field "id" is NoneType, expected str or int',
    squad(question={"question": ["?"]}): f'{QUESTION}: field "question" is list, expected str',
    squad(question={"answers": {"text": []}}): (
        f'{QUESTION}: field "answers" is dict, expected list'
    ),
    squad(question={"is_impossible": "no"}): (
        f'{QUESTION}: field "is_impossible" is str, expected bool'
    ),
    squad(answer={"text": 5}): f'{QUESTION}: field "text" is int, expected str',
    squad(answer={"answer_start": "6"}): f'{ANSWER}: field "answer_start" is str, expected int',
    squad(answer={"answer_start": True}): f'{ANSWER}: field "answer_start" is bool, expected int',
    GOOD.replace(b": 6", b": -Infinity"): f'{ANSWER}: field "answer_start" is float, expected int',
}

# Repaired or left out of training by default: content, how many examples remain, every problem.
# With --strict the first problem is the error, with "(--strict)" behind it.
REPORTED: dict[bytes, tuple[int, list[str]]] = {
    squad(answer={"answer_start": 4}): (
        1,
        [f"{ANSWER}: the answer 'Rome' is at 6, not 4; repaired"],
    ),
    squad(answer={"answer_start": -3}): (
        1,
        [f"{ANSWER}: the answer 'Rome' is at 6, not -3; repaired"],
    ),
    squad(answer={"answer_start": 10**30}): (
        1,
        [f"{ANSWER}: the answer 'Rome' is at 6, not {10**30}; repaired"],
    ),
    squad(answer={"text": "Paris"}): (
        1,
        [f"{ANSWER}: the answer 'Paris' is not in the paragraph; {NO_SCORE}"],
    ),
    squad(answer={"text": " "}): (1, [f"{ANSWER}: an answer is empty; {NO_SCORE}"]),
    squad(question={"question": ""}): (1, [f"{ANSWER}: the question is empty"]),
    squad(paragraph={"context": ""}): (
        1,
        [
            f"{ANSWER}: the paragraph is empty; the answer can only be empty",
            f"{ANSWER}: the answer 'Rome' is not in the paragraph; {NO_SCORE}",
        ],
    ),
    squad(second={"id": "q"}): (
        1,
        [f"{SECOND} (id q): duplicate id; this row is left out"],
    ),
    squad(second={"id": "\x1b[2J\n\ud800", "answers": [{"text": "no"}]}): (
        2,
        [
            f"{ESCAPED}: lone surrogates in the text; replaced by U+FFFD",
            f"{ESCAPED}: the answer 'no' is not in the paragraph; {NO_SCORE}",
        ],
    ),
    GOOD.replace(b"It is", b"\\ud800t is"): (
        1,
        [f"{ANSWER}: lone surrogates in the text; replaced by U+FFFD"],
    ),
}

# By default the row is left out, and the message ends "; it is left out"; with --strict the message
# is the error: content, how many examples remain, message.
LEFT_OUT: dict[bytes, tuple[int, str]] = {
    squad(second={"question": None}): (
        1,
        f'{SECOND}: field "question" is NoneType, expected str',
    ),
    squad(second={"answers": [{"text": 5}]}): (
        1,
        f'{SECOND}: field "text" is int, expected str',
    ),
}

# What looks odd and is no fault: content, how many examples.
SOUND: dict[bytes, int] = {
    b"\xef\xbb\xbf" + GOOD: 1,
    json.dumps(json.loads(GOOD), indent=1).replace("\n", "\r\n").encode(): 1,
    GOOD.replace(b'"1.1"', b"NaN"): 1,
    GOOD.replace(b"Where", b"W\\u0000ere"): 1,
}
