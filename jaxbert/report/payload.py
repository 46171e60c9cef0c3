"""Charts and examples of a page as the JSON that its script reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping

from jaxbert.io.files import Json
from jaxbert.report.records import Chart, Passage, Series, Shown
from jaxbert.report.worst import LONGEST_CHOICE, UNKNOWN, Worst, facets_of

# What would end a script element, or begin a comment in it; and half a character, which no file in
# UTF-8 can hold.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def as_script(content: Json) -> str:
    """JSON that may stand in a script element, whatever its texts are.

    >>> as_script({"text": "</script><script>alert(1)"})
    '{"text":"\\\\u003c/script\\\\u003e\\\\u003cscript\\\\u003ealert(1)"}'
    """
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", _dumped(content))


def _dumped(content: Json) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def chart_json(chart: Chart) -> dict[str, Json]:
    """A chart; what is not finite has no value there."""
    return {
        "title": chart.title,
        "x": chart.x,
        "y": chart.y,
        "linked": chart.linked,
        "log": chart.log,
        "series": [_series_json(series) for series in chart.series],
    }


def _series_json(series: Series) -> dict[str, Json]:
    found: dict[str, Json] = {
        "name": series.name,
        "look": series.look,
        "x": _rounded(series.x),
        "y": _rounded(series.y),
    }
    if series.low:
        found |= {"low": _rounded(series.low), "high": _rounded(series.high)}
    return found


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Six digits, which no screen shows more of."""
    return [float(f"{v:.6g}") if v is not None and math.isfinite(v) else None for v in values]


def examples_json(worst: Worst) -> dict[str, Json]:
    """The examples, the worst first, as many as fit.

    Texts stand once, and examples name them by number. Positions are in UTF-16 units, in which
    JavaScript counts.
    """
    texts, labels = _Pool(), _Pool()
    facets = _facets(worst.facets)
    numbers = {name: {v: n for n, v in enumerate(values)} for name, values in facets.items()}
    rows: list[Json] = []
    size = 0
    for number, shown in worst.ranked():
        before = texts.bytes
        row = _row(shown, number, texts, labels)
        known = facets_of(shown)
        row["f"] = [numbers[name].get(known.get(name, ""), -1) for name in facets]
        size += len(_dumped(row).encode("utf-8", "surrogatepass")) + texts.bytes - before
        if size > worst.most_bytes:
            break
        rows.append(row)
    return {
        "total": worst.total,
        "facets": [{"name": name, "values": values} for name, values in facets.items()],
        "texts": texts.content,
        "labels": labels.content,
        "rows": rows,
    }


class _Pool:
    """Texts, each once."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self.bytes = 0

    def number(self, text: str) -> int:
        if text not in self._number:
            self.bytes += len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return self._number.setdefault(text, len(self._number))

    @property
    def content(self) -> list[str]:
        return list(self._number)


def _facets(known: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Name -> its values in order, of what tells examples apart."""
    values = {name: sorted(found, key=_natural) for name, found in known.items()}
    return {
        name: found
        for name, found in values.items()
        if len(found) > 1 or (name == "verdict" and found != [UNKNOWN])
    }


def _natural(text: str) -> list[tuple[int, str]]:
    """Numbers in a text are ordered as numbers."""
    parts = re.findall(r"\d+|\D+", text)
    return [(int(p), "") if p.isdecimal() and len(p) < 10 else (-1, p) for p in parts]


def _row(shown: Shown, number: int, texts: _Pool, labels: _Pool) -> dict[str, Json]:
    row: dict[str, Json] = {
        "n": number,
        "id": shown.name,
        "t": [_passage(passage, texts, labels) for passage in shown.passages],
        "g": shown.gold,
        "p": shown.predicted,
        "r": shown.right,
        "b": float(f"{shown.badness:.5g}") if math.isfinite(shown.badness) else 0.0,
        "l": shown.length,
    }
    if shown.confidence is not None:
        row["c"] = _rounded([shown.confidence])[0]
    if shown.choices:
        row["o"] = [
            [
                _cut(c.text, LONGEST_CHOICE),
                _probability(c.probability),
                int(c.gold) + 2 * int(c.predicted),
            ]
            for c in shown.choices
        ]
    return row


def _probability(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _passage(passage: Passage, texts: _Pool, labels: _Pool) -> list[Json]:
    """Title, number of the text, marks: start, end, number of the label, whether it is gold."""
    text = passage.text
    place = _utf16(text)
    spans: list[Json] = [
        [place(m.start), place(m.end), labels.number(m.label), int(m.by == "gold")]
        for m in passage.marks
    ]
    return [passage.title, texts.number(text), spans]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _utf16(text: str) -> Callable[[int], int]:
    """A function: a position in code points -> in UTF-16 units."""
    if not text or max(text) <= "\uffff":
        return lambda position: position
    return lambda position: position + sum(c > "\uffff" for c in text[:position])
