"""CSV, TSV, CoNLL, text and Parquet with one fault each: read by test_faulty_files.py.

A message is what follows the name of the file.
"""

from __future__ import annotations

from typing import Any

from faulty_squad import GOOD

from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging

DAMAGED = (
    "has a NUL byte; most of the file is UTF-8, or it is not text: is it damaged, or another "
    "kind of file?"
)

# Refused by default and with --strict: of each task and file name, content and message.
REFUSED: dict[tuple[Any, str], dict[bytes, str]] = {
    (Classification, "a.csv"): {
        b"": "line 1: the file is empty, expected the names of the columns",
        b'text,label\na,1\n"b,2\nc,3\n': (
            "line 3: a quoted field begins here or later in the row and does not end"
        ),
        b"text,label\na,1\nb\n": (
            "line 3 has 1 column, expected 2 as in the first line (text, label)"
        ),
        b"text,label\na,1\n\nb,2\n": (
            "line 3 is blank, expected 2 as in the first line (text, label)"
        ),
        b"text,label\na,1\rb,2\n": (
            "line 2: a carriage return inside a line; end lines with LF or CRLF"
        ),
        b"text,label\na,1\n\0,2\n": f"line 3 {DAMAGED}",
        b"text,\x1b[2J,\x1b[2J\n": (
            r"line 1: two columns are named \x1b[2J; "
            "expected a header with a different name for each column"
        ),
    },
    (QA, "a.csv"): {
        b"id,question,context\na,b\n": (
            "line 2 has 2 columns, expected 3 as in the first line (id, question, context)"
        ),
    },
    (Classification, "a.tsv"): {
        b"text\tlabel\na\t1\tb\n": (
            "line 2 has 3 columns, expected 2 as in the first line (text, label)"
        ),
        "text\tlabel\ncaf\xe9\t1\n".encode("latin-1"): (
            "line 2 is not UTF-8 (byte 14 of the file); it looks like WINDOWS-1252: "
            "convert it with iconv -f WINDOWS-1252 -t UTF-8 a.tsv > NEW.tsv"
        ),
        "text\tlabel\n".encode("utf-16"): (
            "line 1 is not UTF-8 (byte 0 of the file); it is UTF-16: "
            "convert it with iconv -f UTF-16 -t UTF-8 a.tsv > NEW.tsv"
        ),
    },
    (MultipleChoice, "a.tsv"): {
        b"sent1\tsent2\tending0\na\tb\tc\n": "line 2: 1 choices, expected at least 2",
    },
    (Tagging, "a.conll"): {
        b"a O\nb\n": (
            "line 2 has 1 column, expected 2 as in line 1, with a tab or spaces between them"
        ),
        b"a\tO\nb\t\n": "line 2: column 1 is empty",
        b"a O\n\0 O\n": f"line 2 {DAMAGED}",
        b"a O\nb\xff O\n": (
            "line 2 is not UTF-8 (byte 5 of the file); it looks like WINDOWS-1252: "
            "convert it with iconv -f WINDOWS-1252 -t UTF-8 a.conll > NEW.conll"
        ),
        "a O\n".encode("utf-16"): (
            "line 1 is not UTF-8 (byte 0 of the file); it is UTF-16: "
            "convert it with iconv -f UTF-16 -t UTF-8 a.conll > NEW.conll"
        ),
        b"a O\nb O\rc O\n": "line 2 has a carriage return inside; end lines with LF or CRLF",
        b"-DOCSTART- -X- O\r\n\r\n": "no sentence in it",
    },
    (Tagging, "a.conllu"): {
        b"# text\n1\ta\t_\n": (
            "line 2 has 3 columns, expected at least 4, with a tab or spaces between them"
        ),
    },
    (MLM, "a.txt"): {
        b" \r\n\t\n": "no text in it",
        b"a\nb\0\n": f"line 2 {DAMAGED}",
        b"a\nb\xff\n": (
            "line 2 is not UTF-8 (byte 3 of the file); it looks like WINDOWS-1252: "
            "convert it with iconv -f WINDOWS-1252 -t UTF-8 a.txt > NEW.txt"
        ),
    },
    (MLM, "a.json"): {
        b'{"data": [{"paragraphs": [{}]}]}': 'row 0, paragraph 0: no field "context"; it has none',
    },
    (Classification, "a.parquet"): {
        b"": "the file is empty",
        b"PAR1": "the library datasets cannot read it (...)",  # the reason is the library's
    },
    (QA, "a.parquet"): {
        GOOD: "the library datasets cannot read it (...)",
    },
}

# Left out by default: of each task and file name, content, how many examples remain, the problem.
# With --strict the problem is the error, with "(--strict)" behind it.
REPORTED: dict[tuple[Any, str], dict[bytes, tuple[int, list[str]]]] = {
    (Classification, "a.csv"): {
        b"text,label\na,1\nb,\nc,0\n": (
            2,
            ["line 3: no label, but other rows have one; it is left out"],
        ),
    },
}

# By default the row is left out, and the message ends "; it is left out"; with --strict the message
# is the error: of each task and file name, content, how many examples remain, message.
LEFT_OUT: dict[tuple[Any, str], dict[bytes, tuple[int, str]]] = {
    (Classification, "a.csv"): {
        b"text,label\na,1\n,2\nc,0\n": (2, 'line 3: the text of column "text" is empty'),
    },
    (Regression, "a.csv"): {
        b"text,score\na,1\nb,1e400\n": (
            1,
            "line 3: label column \"score\" is '1e400', expected a finite number",
        ),
        b"text,score\na,1\nb,nan\n": (
            1,
            "line 3: label column \"score\" is 'nan', expected a finite number",
        ),
    },
}

# What looks odd and is no fault: of each task and file name, content and how many examples.
SOUND: dict[tuple[Any, str], dict[bytes, int]] = {
    (Classification, "a.csv"): {
        b"\xef\xbb\xbftext,label\r\na,1\r\nb,0\r\n\r\n": 2,
        b"text,label\n" + b"a" * 10**6 + b",1\nb,0\n": 2,
    },
    (Classification, "a.tsv"): {
        b'text\tlabel\n"a\t1\nb"\t0\n': 2,
    },
    (Tagging, "a.conll"): {
        b"\xef\xbb\xbfa O\r\n\r\nb B\r\n": 2,
        b"a O\n" * 5000: 1,
    },
    (MLM, "a.txt"): {
        b"\xef\xbb\xbfa\r\nb\r\n": 2,
        b"a\rb\r\rc\r": 3,
        "a\u2028b\x85c\n".encode(): 1,
    },
}
