"""The code of the pages under docs/: found, run, and what it prints put into the page.

    python tests/page_code.py docs/three_questions.md

runs the page's blocks ```python one after the other and writes what each prints into the block
```text that follows it; tests/test_site.py holds that this is what they print. A block ```none is
written too, but not compared: it is of a trained model, which the tests do not have.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block: what is behind its fence, its text, where that is, and its line."""

    kind: str
    text: str
    start: int
    end: int
    line: int


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    return [
        Block(
            found["kind"].strip(),
            found["text"],
            found.start("text"),
            found.end("text"),
            page.count("\n", 0, found.start()) + 1,
        )
        for found in FENCE.finditer(page)
    ]


def run(page: str, name: str) -> Iterator[tuple[Block, str, Block | None]]:
    """Run the blocks of Python in one namespace: each, what it printed, and its block of text."""
    names: dict[str, Any] = {"__name__": "page"}
    found = blocks(page)
    for number, block in enumerate(found):
        if block.kind != "python":
            continue
        file = f"<{name}:{block.line}>"  # as IPython keeps the source of a cell
        linecache.cache[file] = (len(block.text), None, block.text.splitlines(True), file)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, file, "exec"), names)
        follows = found[number + 1] if number + 1 < len(found) else None
        shown = follows if follows and follows.kind in ("text", "none") else None
        yield block, printed.getvalue(), shown


def with_outputs(page: str, name: str) -> str:
    """The page with what its code prints now."""
    changes = [(text, out) for _, out, text in run(page, name) if text is not None]
    for text, out in reversed(changes):
        page = page[: text.start] + out + page[text.end :]
    return page


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_outputs(path.read_text("utf-8"), path.name), encoding="utf-8")
