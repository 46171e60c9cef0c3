"""--per_device_train_batch_size auto: compiled, chosen, recorded, and kept at a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.cli import command_line
from jaxbert.compiling.step_report import DoesNotFit
from jaxbert.errors import InputError
from jaxbert.options.fields import AUTO
from jaxbert.options.task_settings import ClassificationTrainOptions as Options
from jaxbert.runs import batch_size, training_inputs
from jaxbert.runs.batch_size import room, rows_that_fit
from jaxbert.runs.train import train
from jaxbert.tasks.classification import Classification


class Step:
    """A step that takes a fixed number of bytes, and some more for each row."""

    def __init__(self, fixed: int, row: int) -> None:
        self.fixed, self.row = fixed, row
        self.tried: list[int] = []

    def needs(self, rows: int) -> int | DoesNotFit:
        self.tried.append(rows)
        needed = self.fixed + rows * self.row
        return DoesNotFit(None) if needed > 10**6 else needed


@given(
    fixed=st.integers(0, 10**5),
    row=st.integers(1, 10**5),
    most=st.integers(1, 5000),
    room=st.integers(1, 10**6),
)
def test_the_largest_power_of_two_that_fits(fixed: int, row: int, most: int, room: int) -> None:
    step = Step(fixed, row)
    able = [n for n in (2**k for k in range(11)) if fixed + n * row <= room]
    able = [n for n in able if n <= most]  # more would be padding alone
    if fixed + row > room:
        with pytest.raises(InputError, match="not even one row fits"):
            rows_that_fit(step, room, most)  # type: ignore[arg-type]
        return
    assert rows_that_fit(step, room, most) == max(able)  # type: ignore[arg-type]
    assert len(step.tried) <= 7


def test_a_processor_does_not_tell_its_memory() -> None:
    with pytest.raises(InputError, match="auto: a cpu does not tell its memory; give a number"):
        room()


def test_auto_is_a_word_of_this_number_alone() -> None:
    for words in (["--per_device_train_batch_size", "auto"], []):
        options = command_line.parse(Options, words)
        assert options.per_device_train_batch_size == (AUTO if words else 8)
    assert Options(per_device_train_batch_size="auto").per_device_train_batch_size == AUTO  # type: ignore[arg-type]
    for value in ("0", "-1", "AUTO", "automatic"):
        with pytest.raises(InputError, match=r"it must be (a whole number )?from 1 to 65536"):
            command_line.parse(Options, ["--per_device_train_batch_size", value])
    with pytest.raises(InputError, match="seed"):
        command_line.parse(Options, ["--seed", "auto"])


@pytest.mark.integration
@pytest.mark.parametrize("packing", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_run_decides_and_keeps_what_it_has_decided(
    packing: bool, tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[int, int]] = []
    needs = batch_size.TrainingStep.needs

    def noted(self: batch_size.TrainingStep, rows: int) -> int | DoesNotFit:
        needed = needs(self, rows)
        assert isinstance(needed, int)
        compiled.append((rows, needed))
        return needed

    monkeypatch.setattr(batch_size.TrainingStep, "needs", noted)

    def options(**more: Any) -> Options:
        given: dict[str, Any] = {"num_train_epochs": 1.0, "save_steps": 1}
        given["per_device_train_batch_size"] = "auto"
        given["output_dir"] = str(tmp_path / "run")
        return Options(
            model_name_or_path=str(tiniest_folder),
            train_file=[str(DEMO / "classification_train.tsv")],
            parallel="jit",
            packing=packing,
            **{**given, **more},
        )

    # Room for as many rows as 8 need, and a little more.
    monkeypatch.setattr(training_inputs, "room", lambda: 1 << 62)
    monkeypatch.setattr(batch_size, "_MOST", 8)
    train(Classification, options(output_dir=str(tmp_path / "probe"), max_steps=1))
    sizes = dict(compiled)
    assert sorted(sizes) == [8]
    enough = sizes[8]
    monkeypatch.setattr(batch_size, "_MOST", 1024)
    monkeypatch.setattr(training_inputs, "room", lambda: enough)
    first = train(Classification, options(max_steps=1))
    assert first.done
    record = json.loads((tmp_path / "run" / "options.json").read_text())
    assert record["options"]["per_device_train_batch_size"] == 8
    compiled.clear()
    monkeypatch.setattr(training_inputs, "room", lambda: pytest.fail("asked again"))
    more = {"max_steps": 2, "allow_changed_options": ["max_steps"]}
    assert train(Classification, options(**more)).done
    same = train(Classification, options(per_device_train_batch_size=8, **more))
    assert same.done
    assert compiled == []
    again = json.loads((tmp_path / "run" / "options.json").read_text())
    assert again["rows_per_step"] == record["rows_per_step"]
    with pytest.raises(InputError, match="per_device_train_batch_size: 8 -> 16"):
        train(Classification, options(per_device_train_batch_size=16, **more))
    # What it took is what a run with that number gives, to the bit.
    train(
        Classification,
        options(**more, output_dir=str(tmp_path / "b"), per_device_train_batch_size=8),
    )
    models = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("run", "b")]
    assert models[0] == models[1]
