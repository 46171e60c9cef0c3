"""Guesses the encoding of bytes that are not UTF-8, for a message.

The guess goes into an iconv command and is never used to read data. It tries each encoding that is
common for its language, and takes the one that gives the most common characters. The usual library,
charset-normalizer, needs longer texts: it takes a French line for cp1250 and a Chinese name for
Korean.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from statistics import fmean

_BYTE_ORDER_MARKS = (  # UTF-32 first: its marks begin with those of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_SAMPLE_BYTES = 1 << 16
_ASCII = bytes(range(128))
_MIN_SCORE = 0.6  # how common the characters must be, up to 1


def wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by its byte order mark or, without one, by the positions of zero bytes.

    >>> wide_encoding("a,b".encode("utf-16")), wide_encoding("a,b\\n".encode("utf-32-be"))
    ('UTF-16', 'UTF-32BE')
    >>> wide_encoding(b"caf\\xe9") is None
    True
    """
    for mark, name in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return name
    zeros = [raw[n::4].count(0) for n in range(4)]
    even, odd, characters = zeros[0] + zeros[2], zeros[1] + zeros[3], len(raw) // 4
    if characters > 1 and zeros[0] < characters <= min(zeros[2:]):
        return "UTF-32LE"
    if characters > 1 and zeros[3] < characters <= min(zeros[:2]):
        return "UTF-32BE"
    if max(even, odd) > max(2, len(raw) // 20):  # fewer mean damage
        return "UTF-16LE" if odd > 8 * even else "UTF-16BE" if even > 8 * odd else None
    return None


def likely_encoding(raw: bytes) -> str | None:
    """The likely encoding of a text that is not UTF-8, as iconv names it.

    Returns:
        None if no encoding gives common characters, or if most of the text is UTF-8 and only a few
        bytes are damaged.

    >>> likely_encoding("un café".encode("cp1252")), likely_encoding("喜欢电影".encode("gb18030"))
    ('WINDOWS-1252', 'GB18030')
    """
    lines = [line for line in raw.split(b"\n") if not line.isascii()]
    part = b"\n".join(lines)
    if len(part) > _SAMPLE_BYTES:  # cut between lines if possible, not within a character
        part = part.lstrip(_ASCII)  # a line may begin with more ASCII than the sample holds
        part = part[:_SAMPLE_BYTES].rpartition(b"\n")[0] or part[:_SAMPLE_BYTES]
    as_utf8 = [c for c in part.decode(errors="replace") if ord(c) > 127]
    if 2 * as_utf8.count("\ufffd") < len(as_utf8):
        return None
    scores = {name: score(part) for name, score in _SCORERS.items()}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= _MIN_SCORE else None


def _double_byte(codec: str, first: dict[range, float]) -> Callable[[bytes], float]:
    """Scores how common two-byte characters are, by the ranges of their first byte."""

    def score(raw: bytes) -> float:
        try:  # ignores a character cut off at the end
            text = codecs.getincrementaldecoder(codec)().decode(raw)
        except UnicodeDecodeError:
            return 0.0
        leads = [c.encode(codec)[0] for c in text if ord(c) > 127]
        return (
            fmean(
                next((weight for leads_in, weight in first.items() if lead in leads_in), 0.2)
                for lead in leads
            )
            if leads
            else 0.0
        )

    return score


def _latin(raw: bytes) -> float:
    """Scores accented letters, which come singly or in pairs between others."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return 0.0
    runs = "".join(c if ord(c) > 127 else " " for c in text).split(" ")
    return sum(len(run) for run in runs if len(run) < 3) / sum(map(len, runs))


def _cyrillic(raw: bytes) -> float:
    """Scores Cyrillic letters, which follow each other and only begin with a capital."""
    try:
        text = raw.decode("cp1251")
    except UnicodeDecodeError:
        return 0.0
    scores = []
    for before, c in zip(" " + text, text, strict=False):
        if ord(c) > 127:
            follows = before.isalpha()
            odd = not c.isalpha() or (follows and (before.isascii() or before < c.upper() == c))
            scores.append(0.3 if odd else 1.0)
    return fmean(scores)


# Most texts consist of the level-1 characters of each standard.
_SCORERS: dict[str, Callable[[bytes], float]] = {
    "WINDOWS-1252": _latin,  # first: wins for a text whose only such character is an apostrophe
    "WINDOWS-1251": _cyrillic,
    "GB18030": _double_byte("gb18030", {range(0xB0, 0xD8): 1.0, range(0xA1, 0xA4): 0.8}),
    "BIG5": _double_byte("big5", {range(0xA4, 0xC7): 1.0, range(0xA1, 0xA4): 0.8}),
    # Hangul overlaps with GB18030, but Chinese texts have other characters too.
    "EUC-KR": _double_byte("euc_kr", {range(0xB0, 0xC9): 1.01, range(0xCA, 0xFE): -1.0}),
    "EUC-JP": _double_byte("euc_jp", {range(0xA4, 0xA6): 1.0, range(0xB0, 0xD0): 0.9}),
    "SHIFT_JIS": _double_byte("shift_jis", {range(0x82, 0x98): 1.0, range(0x81, 0x82): 0.8}),
}
