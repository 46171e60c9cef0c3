"""Figures of the house: `python tests/house.py [TREE]` prints them for a checkout.

Functions that take a whole settings object, words of type Any and what stands in for it, the
longest function, the parameters of fit, file names that occur twice, lines.
"""

from __future__ import annotations

import ast
import collections
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

# What a parameter that carries settings is called, and what its type's name ends with.
_NAMES = {"options", "settings", "opts"}
_TYPES = re.compile(r"\b[A-Za-z]*(Options|Settings)\b")
_CLASSES = re.compile(r"\btype\[[^\[\]]*\]")  # the class of some settings is no settings object
_STAND_INS = re.compile(r"\bAny\b|\bobject\b|\bcast\(")


def sources(tree: Path) -> dict[Path, str]:
    """The package's files and their texts."""
    return {p: p.read_text(encoding="utf-8") for p in sorted((tree / "jaxbert").rglob("*.py"))}


def functions(text: str) -> Iterator[Function]:
    """All functions and methods, nested ones too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            yield node


def parameters(function: Function) -> list[ast.arg]:
    """All parameters but self and cls."""
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return [arg for arg in given if arg.arg not in ("self", "cls")]


def lines_of(function: Function) -> int:
    """From its `def` to its end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def takes_settings(function: Function) -> bool:
    """Whether a parameter is a whole settings object, by its name or by its type."""
    return any(
        arg.arg in _NAMES
        or (arg.annotation and _TYPES.search(_CLASSES.sub("", ast.unparse(arg.annotation))))
        for arg in parameters(function)
    )


def untyped(text: str) -> int:
    """How often Any occurs in code, or what stands in for it: object, cast, type: ignore."""
    code = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            code.append("cast(" * token.string.count("type: ignore"))
        elif token.type != tokenize.STRING:
            code.append(token.string)
            code.append("" if token.string == "cast" else " ")
    return len(_STAND_INS.findall("".join(code)))


def repeated_names(tree: Path) -> list[str]:
    """File names that occur more than once in the package."""
    counts = collections.Counter(p.name for p in sources(tree))
    return sorted(n for n, count in counts.items() if count > 1 and n != "__init__.py")


def figures(tree: Path) -> dict[str, object]:
    """Name -> figure."""
    texts = sources(tree)
    all_functions = [(p, f) for p, text in texts.items() for f in functions(text)]
    length = {
        f"{p.relative_to(tree)}:{f.name}": f.end_lineno - f.lineno + 1 for p, f in all_functions
    }
    longest = max(length, key=length.__getitem__)
    fit = next(f for p, f in all_functions if f.name == "fit" and p.parent.name == "training")
    return {
        "functions that take settings": sum(takes_settings(f) for _, f in all_functions),
        "Any, object, cast, type: ignore": sum(map(untyped, texts.values())),
        "longest function": f"{length[longest]} lines, {longest}",
        "parameters of fit": len(parameters(fit)),
        "file names that occur twice": len(repeated_names(tree)),
        "lines of the package": sum(text.count("\n") for text in texts.values()),
    }


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    for name, figure in figures(where).items():
        print(f"{name}: {figure}")
