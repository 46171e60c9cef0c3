"""Tiny BERT folders with any head, for jaxbert and for transformers, and how results compare."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from conftest import tiny_vocabulary
from flax import traverse_util

from jaxbert.model.config import BertConfig
from jaxbert.model.pretrained import name_table, save_pretrained
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.settings import CheckpointOptions
from jaxbert.runs.record import RunRecord
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

# Below max_seq_length's default, 128: so the longest row, and the only length that is compiled.
POSITIONS = 48


def tiny_model(
    folder: Path,
    head: str,
    labels: tuple[str, ...] = (),
    *,
    positions: int = POSITIONS,
    cased: bool = False,
    problem_type: str | None = None,
) -> Path:
    """The folder with random weights that are large enough for texts to differ."""
    vocabulary = [*tiny_vocabulary(), "北", "京", "\U0001f682"]
    if cased:
        vocabulary += [*string.ascii_uppercase, *(f"##{c}" for c in string.ascii_uppercase), "The"]
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    tokenizer.model_max_length = positions
    cfg = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=positions,
        id2label=labels,
        problem_type=problem_type,
    )
    rng = np.random.default_rng(1)
    leaves = {
        entry.leaf: np.float32(entry.leaf[-1] == "scale")
        + rng.normal(0, 0.1 if entry.leaf[-1] in ("bias", "scale") else 0.4, entry.shape).astype(
            np.float32
        )
        for entry in name_table(cfg, head)
    }
    save_pretrained(folder, cfg, traverse_util.unflatten_dict(leaves), tokenizer, head=head)
    return folder


LABELS = {
    "classification": ("no", "maybe", "yes"),
    "regression": ("score",),
    "tagging": ("O", "B-PER", "I-PER"),
}


def tiny_run(folder: Path, task: str, **more: Any) -> Path:
    """The folder of a tiny run of a task, with random weights and a record.

    Args:
        more: options of the training.
    """
    tiny_model(folder, TASKS[task].head, LABELS.get(task, ()), cased=True)
    if task == "qa":
        more = {"doc_stride": 16, **more}
    options = TASK_COMMANDS[task].training(max_seq_length=POSITIONS, **more)
    assert isinstance(options, CheckpointOptions)
    RunRecord.of(task, options, rows_per_step=1).write(folder)
    return folder


def assert_near(ours: Any, theirs: Any) -> None:
    """All is equal, and of one type, but for numbers that are no integers: they are within 1e-5."""
    assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs), (ours, theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_near(one, other)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), (ours, theirs)
        for name, value in theirs.items():
            assert_near(ours[name], value)
    elif isinstance(theirs, float | np.floating):
        assert abs(ours - theirs) <= 1e-5, (ours, theirs)
    else:
        assert ours == theirs, (ours, theirs)
