"""report.html as a browser reads it, by the standard library's parser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_VOID = {"meta", "line", "rect", "input", "br"}


class Opened(HTMLParser):
    """The elements of a page, its visible text, and the data of its script.

    Attributes:
        elements: (tag, attributes), in order.
        text: outside of scripts and styles.
        scripts: what runs; data: what is read.
    """

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.data: Any = None
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == [], "elements that are not closed"

    @classmethod
    def read(cls, path: Path) -> Opened:
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            if self.elements[-1][1].get("type") == "application/json":
                self.data = json.loads(data)
            else:
                self.scripts.append(data)
        elif self._open[-1:] != ["style"]:
            self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        """An attribute of every element of a tag that has it."""
        return [attrs[name] for found, attrs in self.elements if found == tag and name in attrs]
