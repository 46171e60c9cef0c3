"""The text of a function, a lambda or a class of a user, as it stands in a file or a notebook."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import CodeType, FunctionType

from jaxbert.errors import InputError


def source_text(thing: FunctionType | type, where: str) -> str:
    """The text of a function or class; of a lambda it alone, not the statement around it."""
    try:
        if isinstance(thing, FunctionType) and thing.__name__ == "<lambda>":
            lines, _ = inspect.findsource(thing)
            return _lambda_in("".join(lines), thing.__code__)
        # Of a function its code, for inspect goes from a wrapper to what it wraps.
        code = thing.__code__ if isinstance(thing, FunctionType) else thing
        return textwrap.dedent(inspect.getsource(code)).rstrip()
    except (OSError, TypeError, SyntaxError):
        name = getattr(thing, "__qualname__", str(thing))
        raise InputError(
            f"{where}: the source of {name} cannot be found, so a resumed run could not be held to "
            "it; write it in a file or a notebook cell, not at a prompt"
        ) from None


def _lambda_in(text: str, code: CodeType) -> str:
    """The lambda whose code it is, of the file that it stands in."""
    places = [p for p in code.co_positions() if None not in p and p[0] is not None]
    inside = [
        (line, column) for line, _, column, _ in places if column or line != code.co_firstlineno
    ]
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Lambda)
        and all(_start(node.body) <= place <= _end(node.body) for place in inside)
    ]
    # The innermost one that holds all of the code.
    best = max(found, key=_start, default=None)
    segment = ast.get_source_segment(text, best) if best is not None else None
    if segment is None:
        raise OSError
    return segment


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
