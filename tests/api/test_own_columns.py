"""A loss on columns of the user's own: stopped and resumed it is the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest
from python_rows import SMALL_RUN, rows_of
from test_resume_by_command import interrupt

import jaxbert
from jaxbert.errors import InputError

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


def near_teacher(outputs: Any, batch: Any) -> Any:
    of_view = batch["view_attention_mask"].sum(-1) / 100
    q = jax.nn.softmax(outputs["logits"])[:, 1]
    return (q - batch["teacher_score"]) ** 2 + of_view * q


def rows(**changes: Any) -> list[dict[str, Any]]:
    found = rows_of("classification", "train")
    for n, row in enumerate(found):
        text = next(x for x in row.values() if " " in x)
        row |= {"teacher_score": n % 7 / 7, "importance": 1 + n % 3, "other": text[::-1], **changes}
    return found


def test_a_resumed_run_is_the_same_to_the_bit(
    tiniest_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call: dict[str, Any] = {
        **SMALL_RUN,
        "quiet": False,
        "model": tiniest_folder,
        "loss": near_teacher,
        "extra_columns": ["teacher_score"],
        "weight_column": "importance",
        "view_column": "other",
    }

    def train(name: str, **more: Any) -> jaxbert.Run:
        given = {"train_data": rows(), "output_dir": tmp_path / name, **call, **more}
        return jaxbert.train("classification", **given)

    whole = train("whole")
    said = capsys.readouterr().out
    assert 'batch["teacher_score"]: a number a row, float32' in said
    assert 'weighed by "importance", 2 on average, from 1 to 3' in said
    assert not train("part", callbacks=[interrupt]).done
    with pytest.raises(InputError, match="data"):
        train("part", train_data=rows(importance=2))
    resumed = train("part")
    weights = [(run.output_dir / "model.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]
