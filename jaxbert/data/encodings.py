"""Bytes that are not UTF-8 -> the encoding that they are likely to be in, for a message.

A guess for an iconv command, never used to read data. Each encoding that is common for its language
is tried, and the one whose characters are the most usual ones wins. charset-normalizer, the library
for it, needs longer texts: it takes a French line for cp1250 and a Chinese name for Korean.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from statistics import fmean

_MARKS = (  # UTF-32's first: UTF-16's is how it begins
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_ENOUGH = 1 << 16  # bytes that are looked at
_ASCII = bytes(range(128))
_LEAST = 0.6  # how usual the characters must be


def wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by its byte order mark or, without one, by where bytes are 0.

    >>> wide_encoding("a,b".encode("utf-16")), wide_encoding("a,b\\n".encode("utf-32-be"))
    ('UTF-16', 'UTF-32BE')
    >>> wide_encoding(b"caf\\xe9") is None
    True
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name
    zeros = [raw[n::4].count(0) for n in range(4)]
    even, odd, whole = zeros[0] + zeros[2], zeros[1] + zeros[3], len(raw) // 4
    if whole > 1 and zeros[0] < whole <= min(zeros[2:]):
        return "UTF-32LE"
    if whole > 1 and zeros[3] < whole <= min(zeros[:2]):
        return "UTF-32BE"
    if max(even, odd) > max(2, len(raw) // 20):  # fewer are damage
        return "UTF-16LE" if odd > 8 * even else "UTF-16BE" if even > 8 * odd else None
    return None


def likely_encoding(raw: bytes) -> str | None:
    """iconv's name of the encoding that a text which is not UTF-8 is likely to be in.

    Returns:
        None where no encoding has usual characters, or where most of the text is UTF-8, and so it
        is a few bytes that are damaged.

    >>> likely_encoding("un café".encode("cp1252")), likely_encoding("喜欢电影".encode("gb18030"))
    ('WINDOWS-1252', 'GB18030')
    """
    lines = [line for line in raw.split(b"\n") if not line.isascii()]
    part = b"\n".join(lines)
    if len(part) > _ENOUGH:  # cut between lines, not inside of a character, if that can be
        part = part.lstrip(_ASCII)  # one line may begin with more ASCII than is looked at
        part = part[:_ENOUGH].rpartition(b"\n")[0] or part[:_ENOUGH]
    as_utf8 = [c for c in part.decode(errors="replace") if ord(c) > 127]
    if 2 * as_utf8.count("\ufffd") < len(as_utf8):
        return None
    usual = {name: how_usual(part) for name, how_usual in _HOW_USUAL.items()}
    best = max(usual, key=lambda name: usual[name])
    return best if usual[best] >= _LEAST else None


def _double_byte(codec: str, first: dict[range, float]) -> Callable[[bytes], float]:
    """How usual characters of two bytes are, by the ranges of their first byte."""

    def how_usual(raw: bytes) -> float:
        try:  # without the end of a character that has been cut off
            text = codecs.getincrementaldecoder(codec)().decode(raw)
        except UnicodeDecodeError:
            return 0.0
        leads = [c.encode(codec)[0] for c in text if ord(c) > 127]
        return (
            fmean(
                next((usual for leads_in, usual in first.items() if lead in leads_in), 0.2)
                for lead in leads
            )
            if leads
            else 0.0
        )

    return how_usual


def _latin(raw: bytes) -> float:
    """Letters with accents stand alone or in twos among others."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return 0.0
    runs = "".join(c if ord(c) > 127 else " " for c in text).split(" ")
    return sum(len(run) for run in runs if len(run) < 3) / sum(map(len, runs))


def _cyrillic(raw: bytes) -> float:
    """Letters are between letters of their kind, and only the first is upper-case."""
    try:
        text = raw.decode("cp1251")
    except UnicodeDecodeError:
        return 0.0
    usual = []
    for before, c in zip(" " + text, text, strict=False):
        if ord(c) > 127:
            follows = before.isalpha()
            odd = not c.isalpha() or (follows and (before.isascii() or before < c.upper() == c))
            usual.append(0.3 if odd else 1.0)
    return fmean(usual)


# The level-1 characters of each standard are those that most texts are made of.
_HOW_USUAL: dict[str, Callable[[bytes], float]] = {
    "WINDOWS-1252": _latin,  # first, for a text whose only such character is an apostrophe
    "WINDOWS-1251": _cyrillic,
    "GB18030": _double_byte("gb18030", {range(0xB0, 0xD8): 1.0, range(0xA1, 0xA4): 0.8}),
    "BIG5": _double_byte("big5", {range(0xA4, 0xC7): 1.0, range(0xA1, 0xA4): 0.8}),
    # Hangul's are among GB18030's, whose texts have others too.
    "EUC-KR": _double_byte("euc_kr", {range(0xB0, 0xC9): 1.01, range(0xCA, 0xFE): -1.0}),
    "EUC-JP": _double_byte("euc_jp", {range(0xA4, 0xA6): 1.0, range(0xB0, 0xD0): 0.9}),
    "SHIFT_JIS": _double_byte("shift_jis", {range(0x82, 0x98): 1.0, range(0x81, 0x82): 0.8}),
}
