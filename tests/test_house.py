"""What the house is held to: one room for each thing, imports that run down, few untyped wires."""

from __future__ import annotations

import ast
from pathlib import Path

import house
import pytest

TREE = Path(__file__).parent.parent

# From the ground up: a room imports those before it, and its own.
FLOORS = (
    ("errors",),
    ("io",),
    ("options", "runtime"),
    ("metrics", "data", "model", "demo"),
    ("losses", "decoding", "report"),
    ("training",),
    ("compiling",),
    ("loaded", "tasks", "callbacks"),
    ("sharing",),
    ("runs",),
    ("predictors",),
    ("serve",),
    ("benchmark",),
    ("api", "together", "cli", "launch", "__main__", "__init__"),
)


def test_no_two_files_have_one_name() -> None:
    assert house.repeated_names(TREE) == []


def test_wires_do_not_come_back() -> None:
    """Whoever passes less of the settings around, or types more, lowers these."""
    found = house.figures(TREE)
    assert found["parameters of fit"] == 8
    assert found["functions that take settings"] <= 15
    assert found["Any, object, cast, type: ignore"] <= 62
    assert int(str(found["longest function"]).split()[0]) <= 108


def test_every_room_is_in_the_table_of_folders() -> None:
    table = (TREE / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The folders")[2]
    rooms = [p.parent for p in (TREE / "jaxbert").glob("*/__init__.py")]
    names = [f"`jaxbert/{room.name}/`" for room in rooms]
    names += [f"`jaxbert/{path.name}`" for path in (TREE / "jaxbert").glob("*.py")]
    assert [name for name in names if name not in table.partition("## ")[0]] == []


def test_a_phase_of_a_training_fits_a_screen() -> None:
    for name in ("train", "training_inputs"):
        text = (TREE / f"jaxbert/runs/{name}.py").read_text(encoding="utf-8")
        long = {f.name: house.lines_of(f) for f in house.functions(text)}
        assert {n: lines for n, lines in long.items() if lines > 66} == {}


def test_figures_count_what_they_say(tmp_path: Path) -> None:
    room = tmp_path / "jaxbert" / "training"
    room.mkdir(parents=True)
    (room / "loop.py").write_text(
        "from typing import Any, cast\n"
        "def fit(a, *b, c: int = 1, **d: Any) -> object:\n"
        "    '''Any object in words does not count.'''\n"
        "    return cast(int, a)  # type: ignore\n"
        "class A:\n"
        "    def one(self, given: QAOptions | None): ...\n"
        "    def two(self, options): ...\n"
        "    def three(self, optional: int, cls: type[QAOptions]): ...\n"
    )
    assert house.figures(tmp_path) == {
        "functions that take settings": 2,
        "Any, object, cast, type: ignore": 5,
        "longest function": "3 lines, jaxbert/training/loop.py:fit",
        "parameters of fit": 4,
        "file names that occur twice": 0,
        "lines of the package": 8,
    }


@pytest.mark.parametrize("path", house.sources(TREE), ids=lambda path: path.stem)
def test_imports_run_down(path: Path) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    room = path.relative_to(TREE / "jaxbert").with_suffix("").parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxbert."):
            imported = (node.module or "").split(".")[1]
            assert imported == room or floor[imported] <= floor[room], (path, node.module)
