"""Of many rows outputs and predictions lie in files: what is written keeps its bytes."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from opened_pages import Opened
from scripts import call, environment
from tiny_models import LABELS, tiny_run

from jaxbert.data import record_blocks
from jaxbert.runs import collected_predictions
from jaxbert.tasks import mlm, task
from jaxbert.tasks.registry import TASKS
from jaxbert.training import window_arrays

pytestmark = pytest.mark.integration

ROWS = 41  # more than a batch, and no multiple of anything
# As if these rows were many: all of it in files, a few at a time.
LIMITS = (
    *((collected_predictions, "_IN_MEMORY", 2), (window_arrays, "_IN_MEMORY", 0)),
    *((record_blocks, "_BLOCK", 3), (task, "DECODED", 5), (mlm, "DECODED", 5)),
)
WORDS = ["the", "of", "and", "in", "what", "which", "who", "is", "was", "to", "at"]
WAYS = {  # of a task, what its evaluation is given beside the data
    "qa": ([], ["--version_2_with_negative"]),
    "classification": ([], ["--long_texts", "windows", "--doc_stride", "4"]),
    "tagging": ([], ["--doc_stride", "8", "--entity_mode", "strict"]),
}


def rows_of(name: str, count: int) -> list[Any]:
    """Rows of a task, some of several windows."""
    rng = random.Random(0)

    def words(least: int, most: int) -> list[str]:
        return rng.choices(WORDS, k=rng.randint(least, most))

    rows: list[Any] = []
    for n in range(count):
        few, many = words(2, 9), words(3, 90 if n % 3 else 20)
        text = " ".join(many)
        row: dict[str, Any] = {"text": text}
        if name == "qa":
            answer = {"text": [many[-1]], "answer_start": [text.rindex(many[-1])]}
            answers = answer if n % 5 else {"text": [], "answer_start": []}
            row = {"id": f"q{n}", "question": " ".join(few), "context": text, "answers": answers}
        elif name in ("classification", "regression"):
            row["label"] = rng.choice(LABELS["classification"])
            if name == "regression":
                row["label"] = rng.random()
        elif name == "tagging":
            row = {"tokens": many, "tags": rng.choices(LABELS["tagging"], k=len(many))}
        elif name == "multiple_choice":
            choices = [" ".join(words(1, 20)) for _ in range(3)]
            row = {"question": " ".join(few), "choices": choices, "label": rng.randrange(3)}
        rows.append(row)
    return rows


@pytest.fixture
def words_of(tmp_path: Path) -> Any:
    """The words of an evaluation of a task, and where it writes."""

    def words_of(name: str, where: str, *more: str) -> list[str]:
        model, data = tmp_path / name, tmp_path / f"{name}.jsonl"
        if not model.exists():
            model.mkdir()
            tiny_run(model, name)
            rows = rows_of(name, ROWS)
            if name == "qa" and "--version_2_with_negative" not in more:
                rows = [row for row in rows if row["answers"]["text"]]
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        fixed = ["--model_name_or_path", str(model), "--validation_file", str(data)]
        return [*fixed, "--output_dir", str(tmp_path / where), *more]

    return words_of


def written(folder: Path) -> dict[str, Any]:
    """The bytes of all files; of the report what its script reads, for it has a date."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir()}
    found["report.html"] = Opened(found["report.html"].decode()).data
    return found


def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in LIMITS:
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(
    ("name", "more"),
    [(name, more) for name in TASKS for more in WAYS.get(name, ([],))],
    ids=lambda value: value if isinstance(value, str) else "-".join(value[:1]),
)
def test_files_of_many_rows_have_the_bytes_of_few(
    name: str, more: list[str], words_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ("--per_device_eval_batch_size", "2")
    assert call(f"eval/{name}.py", *words_of(name, "few", *size, *more)) == 0
    limited(monkeypatch)
    assert call(f"eval/{name}.py", *words_of(name, "many", *size, *more)) == 0
    few, many = written(tmp_path / "few"), written(tmp_path / "many")
    assert many == few
    assert few["report.html"]["examples"]["total"] >= 20
    if name != "mlm":
        predictions = json.loads(few["predictions.json"])
        assert len(predictions) >= 30
        whole = json.dumps(predictions, indent=2, ensure_ascii=False) + "\n"
        assert few["predictions.json"] == whole.encode()


def test_a_calibration_of_many_questions_is_that_of_few(
    words_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for limit in (False, True):
        if limit:
            limited(monkeypatch)
        words = words_of("qa", f"reports-{limit}", "--version_2_with_negative")
        assert call("eval/calibrate.py", *words) == 0
        found.append((tmp_path / "qa" / "calibration.json").read_bytes())
        (tmp_path / "qa" / "calibration.json").unlink()
    assert found[0] == found[1]


def test_several_processes_write_what_one_writes(words_of: Any, tmp_path: Path) -> None:
    """Each keeps all predictions, in files of its own; the first writes."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    lines = [f"import {m.__name__}; {m.__name__}.{n} = {value}" for m, n, value in LIMITS]
    program = "; ".join([*lines, "from jaxbert.cli.main import main; main('eval', 'qa')"])

    def begun(where: str, devices: int, *more: str) -> subprocess.Popen[bytes]:
        words = words_of("qa", where, "--parallel", "jit", *more)
        command = [sys.executable, "-c", program, *words]
        return subprocess.Popen(command, env=environment(devices), cwd=REPOSITORY)

    assert begun("one", 2).wait(240) == 0
    job = ("--coordinator_address", address, "--num_processes", "2", "--process_id")
    processes = [begun("two", 1, *job, str(rank)) for rank in range(2)]
    assert [process.wait(240) for process in processes] == [0, 0]
    assert written(tmp_path / "two") == written(tmp_path / "one")
