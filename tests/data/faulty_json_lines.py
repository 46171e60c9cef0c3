"""JSON Lines with one fault each, and what the reader says of it: read by test_faulty_files.py.

All are read from a file named a.jsonl. A message is what follows the name of the file.
"""

from __future__ import annotations

import json
from typing import Any

from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


FLAT = {"id": "a", "question": "b", "context": "c d", "answers": {"text": ["d"]}}
CHOICE = {"question": "a", "choices": ["b", "c"], "label": 0}
TWO_TEXTS = b'{"text": "b", "label": 0}\n{"text": "c", "label": 1}\n'

FORMS = "paragraphs (SQuAD), context_text (CMRC2018) or context and question (flat)"
REPAIR = "the file is JSON Lines, one row per line: fix that line or remove it"
SURROGATES = "lone surrogates in the text; replaced by U+FFFD"
NO_LABEL = "no label, but other rows have one; it is left out"

# Refused by default and with --strict: of each task, content and message.
REFUSED: dict[Any, dict[bytes, str]] = {
    QA: {
        lines(FLAT) + b'{"id": "b': (
            f"not JSON at line 2, column 8 (Unterminated string starting at); {REPAIR}"
        ),
        lines(FLAT | {"answers": {"text": ["d"], "answer_start": []}}): (
            "line 1: 1 answer texts and 0 offsets"
        ),
        lines({"id": "b", "question": "c"}): (
            f"line 1: unknown form; it needs {FORMS}, and has id, question"
        ),
    },
    Classification: {
        TWO_TEXTS + b'{"text"}\n': (
            f"not JSON at line 3, column 8 (Expecting ':' delimiter); {REPAIR}"
        ),
        TWO_TEXTS + b"\xff\xfe\n": (
            "line 3 is not UTF-8 (byte 52 of the file); it looks like WINDOWS-1252: "
            "convert it with iconv -f WINDOWS-1252 -t UTF-8 a.jsonl > NEW.jsonl"
        ),
        b'{"text":' * 10**5: "nested too deeply to be a data set",
        b"\n \n": "no example in it",
    },
    Regression: {
        b'\n{"text": "a", "label": NaN}\n': (
            "line 2: the training data has no labels; name them with --label_column_name; "
            "the columns are text, label"
        ),
        b'{"text": "a", "label": -Infinity}\n': (
            "line 1: label column \"label\" is '-inf', expected a finite number"
        ),
        lines({"text": "a", "label": 10**400}): (
            f"line 1: label column \"label\" is '{10**39}', expected a finite number"
        ),
    },
    MultipleChoice: {
        lines(CHOICE | {"choices": ["b", ""]}): (
            'line 1: choice 1 of "choices" is empty, expected a text'
        ),
        lines(CHOICE | {"choices": {}}): 'line 1: field "choices" is dict, expected list',
    },
    Tagging: {
        lines({"tokens": ["a", "b"], "tags": ["O"]}): "line 1: 2 words and 1 tags",
        b'{"tokens": [NaN], "tags": ["O"]}\n': (
            'line 1: item 0 of column "tokens" is float, expected str or int'
        ),
        lines({"tokens": ["a"], "tags": [" "]}): 'line 1: a tag of column "tags" is empty',
    },
}

# Repaired or left out by default: of each task, content, how many examples remain, and the problem.
# With --strict the problem is the error, with "(--strict)" behind it.
REPORTED: dict[Any, dict[bytes, tuple[int, list[str]]]] = {
    QA: {
        lines(FLAT, FLAT | {"id": "b"}, FLAT): (
            2,
            ["line 3 (id a): duplicate id; this row is left out"],
        ),
        lines(FLAT | {"answers": {"text": ["d"], "answer_start": [0]}}): (
            1,
            ["line 1 (id a): the answer 'd' is at 2, not 0; repaired"],
        ),
    },
    Classification: {
        TWO_TEXTS + b'{"text": "\\udfff", "label": 0}\n': (3, [f"line 3: {SURROGATES}"]),
        TWO_TEXTS + b'{"text": "a", "label": "\\ud83d"}\n': (3, [f"line 3: {SURROGATES}"]),
        TWO_TEXTS + b'{"text": "a"}\n': (2, [f"line 3: {NO_LABEL}"]),
        TWO_TEXTS + b'{"text": "a", "label": NaN}\n': (2, [f"line 3: {NO_LABEL}"]),
    },
    MultipleChoice: {
        lines(CHOICE | {"question": "\ud800"}): (1, [f"line 1: {SURROGATES}"]),
        lines(CHOICE, CHOICE | {"label": None}): (1, [f"line 2: {NO_LABEL}"]),
    },
    Tagging: {
        lines({"tokens": ["\ud800"], "tags": ["O"]}): (1, [f"line 1: {SURROGATES}"]),
    },
    MLM: {
        lines({"text": "a"}, {"text": "\ud800"}): (2, [f"line 2: {SURROGATES}"]),
    },
}

# By default the row is left out, and the message ends "; it is left out"; with --strict the message
# is the error: of each task, content, how many examples remain, message.
LEFT_OUT: dict[Any, dict[bytes, tuple[int, str]]] = {
    QA: {
        lines(FLAT, [1]): (1, "row 1: expected an object, found list"),
    },
    Classification: {
        TWO_TEXTS + b'{"text": null}\n': (2, 'line 3: field "text" is NoneType, expected str'),
        TWO_TEXTS + b'{"label": 1}\n': (2, 'line 3: no field "text"; it has label'),
        TWO_TEXTS + b'{"text": ""}\n': (2, 'line 3: the text of column "text" is empty'),
        TWO_TEXTS + b'{"text": "a", "label": Infinity}\n': (
            2,
            'line 3: label column "label" has the wrong type: float, expected the name or number '
            "of a class (str, int or bool)",
        ),
    },
    MultipleChoice: {
        lines(CHOICE, CHOICE | {"label": 2}): (
            1,
            "line 2: label column \"label\" is '2', which is none of the 2 choices; "
            "give the number of the right one, from 0 to 1",
        ),
    },
    Tagging: {
        lines({"tokens": ["a"], "tags": ["O"]}, {"tokens": [], "tags": []}): (
            1,
            "line 2: the sentence has no words",
        ),
    },
    MLM: {
        lines({"text": "a"}, {"text": 5}): (1, 'line 2: field "text" is int, expected str'),
    },
}
