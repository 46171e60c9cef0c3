"""Data files with faults, read as a training reads them: reported or refused, in both modes.

The cases are in faulty_squad.py, faulty_json_lines.py and faulty_tables.py: each file with the
whole message that follows its name, by default and with --strict.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import faulty_json_lines
import faulty_squad
import faulty_tables
import numpy as np
import pytest
from every_task import OPTIONS
from faulty_json_lines import FLAT, lines
from peak import peak

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.runs.encoding import encode_examples
from jaxbert.runs.inputs import read_examples
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging


def every(table: str) -> Iterator[tuple[Any, str, bytes, Any]]:
    """Task, file name, content and outcome of each case in the tables of this name."""
    tables: Mapping[tuple[Any, str], dict[bytes, Any]] = {
        (QA, "a.json"): getattr(faulty_squad, table),
        **{
            (task, "a.jsonl"): cases
            for task, cases in getattr(faulty_json_lines, table, {}).items()
        },
        **getattr(faulty_tables, table),
    }
    for (task, name), cases in tables.items():
        for content, outcome in cases.items():
            yield task, name, content, outcome


def parametrize(table: str) -> pytest.MarkDecorator:
    """A test of each case, named after the task, the file and the outcome."""
    cases = list(every(table))
    ids = [f"{task.name} {name}: {outcome}" for task, name, _, outcome in cases]
    return pytest.mark.parametrize(("task", "name", "content", "outcome"), cases, ids=ids)


def name_of(task: Any) -> str | None:
    return task.name if hasattr(task, "name") else None


@pytest.fixture
def read(write: Callable[..., str]) -> Callable[..., Any]:
    """A function that writes a file and reads it as training data of a task."""

    def read(task: Any, name: str, content: bytes, strict: bool) -> Any:
        options = OPTIONS[task.name](train_file=[write(content, name)], strict=strict)
        return read_examples(task(options.part(task.settings_cls)), options.training_source())

    return read


def refusal(read: Callable[..., Any], *case: Any) -> str:
    """The message of the InputError behind the file's name; it is one line and not long."""
    with pytest.raises(InputError) as caught:
        read(*case)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    place, found = message.split(f"{case[1]}: ", 1)
    assert Path(place).is_absolute()
    return found


def test_there_are_enough_cases() -> None:
    assert sum(len(list(every(table))) for table in ("REFUSED", "REPORTED", "LEFT_OUT")) >= 60


@pytest.mark.parametrize("strict", [False, True])
@parametrize("REFUSED")
def test_refused_in_both_modes(
    read: Callable[..., Any], task: Any, name: str, content: bytes, outcome: str, strict: bool
) -> None:
    found = refusal(read, task, name, content, strict)
    if outcome.endswith(" (...)"):
        assert found.startswith(outcome.removesuffix("...)"))
    else:
        assert found == outcome
    assert "--strict" not in found


@parametrize("REPORTED")
def test_reported_or_strictly_refused(
    read: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    task: Any,
    name: str,
    content: bytes,
    outcome: tuple[int, list[str]],
) -> None:
    count, problems = outcome
    with caplog.at_level("INFO", "jaxbert"):
        data = read(task, name, content, False)
    assert len(data.examples) == count
    assert f"{name}: {count} examples" in caplog.text
    for problem, expected in zip(data.problems, problems, strict=True):
        line = f"{problem.where}: {problem.what}"
        assert line.endswith(f"/{name}: {expected}")
        assert line.isprintable()
        assert line in caplog.text
    repr(data).encode()  # no surrogate is left
    assert refusal(read, task, name, content, True) == f"{problems[0]} (--strict)"


@parametrize("LEFT_OUT")
def test_left_out_or_strictly_refused(
    read: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    task: Any,
    name: str,
    content: bytes,
    outcome: tuple[int, str],
) -> None:
    count, expected = outcome
    with caplog.at_level("INFO", "jaxbert"):
        data = read(task, name, content, False)
    assert len(data.examples) == count
    [problem] = data.problems
    line = f"{problem.where}: {problem.what}"
    assert line.endswith(f"/{name}: {expected}; it is left out")
    assert line in caplog.text
    assert refusal(read, task, name, content, True) == expected


def test_problems_are_counted(read: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "jaxbert"):
        data = read(QA, "a.jsonl", lines(*[FLAT] * 1000), False)
    assert len(data.problems) == 999
    assert "... 999 problems in all; --strict stops at the first" in caplog.text
    assert len(caplog.text) < 5000


@pytest.mark.parametrize("strict", [False, True])
@parametrize("SOUND")
def test_sound_in_both_modes(
    read: Callable[..., Any], task: Any, name: str, content: bytes, outcome: int, strict: bool
) -> None:
    data = read(task, name, content, strict)
    assert len(data.examples) == outcome
    assert data.problems == ()


# --- files that are none ----------------------------------------------------------------------

TASKS = [QA, Classification, Regression, MultipleChoice, Tagging, MLM]


@pytest.mark.parametrize("task", TASKS, ids=name_of)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".tsv", ".parquet", ".conll", ".txt", ""])
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, task: Any, suffix: str) -> None:
    folder = tmp_path / f"data{suffix}"
    folder.mkdir()
    options = OPTIONS[task.name](train_file=[str(folder)])
    expected = "the library datasets cannot read it"
    if task is MLM:  # its folders may have text files
        expected = "a folder without files"
    with pytest.raises(InputError, match=f"data{suffix}: {expected}"):
        read_examples(task(options.part(task.settings_cls)), options.training_source())


@pytest.mark.parametrize("task", TASKS, ids=name_of)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/dev/zero", "a device, not a file"),
        ("/nowhere/data.json", "no such file"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "not a valid file name"),
        ("\ud800", "no such file|not a valid file name"),
    ],
    ids=["device", "missing", "long", "NUL", "surrogate"],
)
def test_names_of_no_file(task: Any, name: str, expected: str) -> None:
    options = OPTIONS[task.name](train_file=[name])
    with pytest.raises(InputError, match=expected) as caught:
        read_examples(task(options.part(task.settings_cls)), options.training_source())
    assert len(str(caught.value).splitlines()) == 1


# --- size -------------------------------------------------------------------------------------

WORDS = ["the", "of", "and", "in", "what", "which", "who", "is", "was", "to", "at"]
BYTES = 1_000_000


def long_text(size: int) -> str:
    rng = np.random.default_rng(0)
    return " ".join(rng.choice(WORDS, size))


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder)


def cost(read: Callable[..., Any], tokenizer: Any, task: Any, name: str, content: bytes) -> int:
    """Resident bytes taken to read and encode, over what is allowed: see below."""
    cfg = BertConfig(vocab_size=512, id2label=("0", "1", "O"))
    options = dataclasses.replace(OPTIONS[task.name](), max_seq_length=384)
    peak()
    before = peak()
    data = read(task, name, content, True)
    features = encode_examples(task(options.part(task.settings_cls)), data.examples, tokenizer, cfg)
    assert max(features.lengths) == 384
    taken = peak() - before
    return taken - 4 * 17 * int(features.bounds[-1]) - 300 * len(content)


@pytest.mark.integration
def test_memory_for_long_texts(read: Callable[..., Any], tokenizer: Any) -> None:
    """A paragraph of a megabyte and a question of 5000 words, and as long texts of other tasks.

    A token of a window is 17 bytes of features at most, and building them takes four times as much.
    The tokens of a text, with their names and offsets, are some hundred bytes a character.
    """
    text = long_text(BYTES * 2 // 7)
    assert len(text) > BYTES
    question = FLAT | {"context": text, "question": "who is at " * 1700}
    texts = lines({"text": text, "label": 1}, {"text": "a", "label": 0})
    sentence = "\n".join(f"{word} O" for word in text.split()).encode()
    assert cost(read, tokenizer, QA, "a.jsonl", lines(question)) < 0
    assert cost(read, tokenizer, Classification, "a.jsonl", texts) < 0
    assert cost(read, tokenizer, Tagging, "a.conll", sentence) < 0
    assert cost(read, tokenizer, MLM, "a.txt", text.encode()) < 0


def test_time_for_a_wrong_offset_in_a_run_of_one_character(read: Callable[..., Any]) -> None:
    """Every place of the answer in the paragraph would be half a million."""
    row = FLAT | {"context": "a" * BYTES + "b", "answers": {"text": ["a" * (BYTES // 2)]}}
    row["answers"]["answer_start"] = [BYTES]
    started = time.process_time()
    data = read(QA, "a.jsonl", lines(row), False)
    assert time.process_time() - started < 2.0
    assert len(data.problems) == 1
    assert "but in several places" in data.problems[0].what
