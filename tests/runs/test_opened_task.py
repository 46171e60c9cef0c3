"""A loop of one's own on an opened task: what jaxbert.train computes, resumed; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file

import jaxbert
from jaxbert.errors import InputError
from jaxbert.model.pretrained import load_pretrained
from jaxbert.runs.opened_task import checkpointed, open_task
from jaxbert.training.optim import adamw, make_schedule

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

WORDS = ["the", "of", "and", "in", "what", "which", "who", "is", "was", "to", "at"]
ROWS = [
    {"text": " ".join(WORDS[n % 5 : n % 5 + 3 + n % 4]), "label": "ab"[n % 2]} for n in range(20)
]
STEPS = 4


def test_the_loop_is_that_of_train(tiniest_folder: Path, tmp_path: Path) -> None:
    run = jaxbert.train(
        "classification",
        model=tiniest_folder,
        train_data=ROWS,
        output_dir=tmp_path / "run",
        max_steps=STEPS,
        per_device_train_batch_size=1,
        max_seq_length=16,
        length_bucket=0,
        learning_rate=1e-3,
        seed=5,
        quiet=True,
    )
    opened = open_task(
        "classification",
        tiniest_folder,
        ROWS,
        jax.device_count(),
        seed=5,
        length_bucket=0,
        max_seq_length=16,
    )
    tx = adamw(make_schedule(1e-3, steps=STEPS))
    step, key = opened.make_step(tx), jax.random.fold_in(jax.random.key(5), 1)
    begun = []
    for stop in (2, STEPS):  # it is left and entered again on the way
        with checkpointed(tmp_path / "kept", opened.model.params, tx) as (first, state, save):
            begun.append(first)
            for number in range(first, stop):
                state, metrics = step(state, opened.batch(number), key)
                assert {"loss", "accuracy", "grad_norm"} <= metrics.keys()
            params: Any = save(state).params
    assert begun == [0, 2]
    opened.model.save(tmp_path / "own", params)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "own"))
    assert one.keys() == other.keys()
    for name, x in one.items():
        np.testing.assert_array_equal(other[name], x)
    assert run.done
    before = traverse_util.flatten_dict(load_pretrained(tiniest_folder, "qa")[1])
    after = traverse_util.flatten_dict(load_pretrained(tmp_path / "own", "classification")[1])
    moved = [path for path, x in before.items() if path in after and (after[path] != x).any()]
    assert len(moved) > 10


def test_what_cannot_be_opened_is_refused(tiniest_folder: Path) -> None:
    with pytest.raises(InputError, match="there is no task 'parsing'; there are qa"):
        open_task("parsing", tiniest_folder, ROWS, 8)
    with pytest.raises(InputError, match=r"rows: 3 is no multiple of the 8 devices"):
        open_task("classification", tiniest_folder, ROWS, 3)
    with pytest.raises(InputError, match="learning_rate is not an option"):
        open_task("classification", tiniest_folder, ROWS, 8, learning_rate=1e-3)
