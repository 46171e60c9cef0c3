"""An evaluation that was to give scores and can give none is no success."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import refuses

pytestmark = pytest.mark.integration


@pytest.fixture
def refusal(tiniest_folder: Path, tmp_path: Path) -> Callable[..., str]:
    """What an evaluation of such a file ends with, behind the file's name; nothing is written."""

    def refusal(task: str, name: str, text: str, *words: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        folders = ["--model_name_or_path", str(tiniest_folder), "--output_dir", str(tmp_path / "o")]
        file = ["--validation_file", str(tmp_path / name)]
        message = refuses(f"eval/{task}.py", *folders, *file, *words)
        assert not (tmp_path / "o").exists()
        return message.removeprefix(f"{tmp_path / name}: ")

    return refusal


@pytest.mark.parametrize(
    ("task", "name", "text", "expected"),
    [
        (
            "classification",
            "a.jsonl",
            '{"text": "a", "label": {"b": "x"}}\n{"text": "b"}\n',
            "line 1: labe",
        ),
        ("classification", "a.csv", "text,label\na,0.5\nb,\n", "line 2: label column"),
        ("regression", "a.csv", "text,label\na,high\nb,\n", "line 2: label column"),
        ("regression", "a.csv", "text,label\na,1e999\nb,\n", "line 2: label column"),
        (
            "multiple_choice",
            "a.jsonl",
            '{"question": "a", "choices": ["b", "c"], "label": 9}\n'
            '{"question": "a", "choices": ["b", "c"], "label": null}\n',
            "line 1: label column",
        ),
        (
            "tagging",
            "a.jsonl",
            '{"tokens": ["a", "b"], "tags": ["O"]}\n{"tokens": ["a"], "tags": null}\n',
            "line 1: 2 words and 1 tags",
        ),
    ],
)
def test_no_label_can_be_used(
    refusal: Callable[..., str], task: str, name: str, text: str, expected: str
) -> None:
    assert refusal(task, name, text).startswith(expected)


def test_a_column_that_is_asked_for_has_no_label(refusal: Callable[..., str]) -> None:
    message = refusal("classification", "a.csv", "text,gold\na,\n", "--label_column_name", "gold")
    assert message == (
        "line 2: --label_column_name gold: no row has a label, so there is nothing to score; "
        "without that flag there are predictions alone"
    )
