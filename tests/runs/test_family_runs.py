"""A whole training of another family than BERT, through the files it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from family_folders import make_folder, tokenizer_of

import jaxbert

pytestmark = pytest.mark.integration

ROWS = [
    {"words": ["Anna", "lives", "in", "e\u0301lan"], "tags": ["B-PER", "O", "O", "B-LOC"]},
    {"words": ["\U0001f682", "(x)", "paid"], "tags": ["O", "O", "O"]},
] * 3


def test_a_tagger_is_trained_resumed_and_saved(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "roberta", "RobertaForMaskedLM")
    options = {
        "text_column_name": "words",
        "label_column_name": "tags",
        "max_seq_length": 40,
        "per_device_train_batch_size": 1,
        "parallel": "jit",
        "max_steps": 4,
        "save_steps": 2,
        "packing": True,
        "quiet": True,
    }

    def train(name: str, **more: object) -> jaxbert.Run:
        settings = {**options, **more, "output_dir": tmp_path / name}
        return jaxbert.train("tagging", model=tmp_path / "model", train_data=ROWS, **settings)

    def stop(event: object) -> None:
        if getattr(event, "step", 0) == 3:
            raise KeyboardInterrupt

    train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", callbacks=[stop], logging_steps=1)
    train("stopped", logging_steps=1)
    weights = [
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")
    ]
    assert weights[0] == weights[1]

    folder = tmp_path / "whole"
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["RobertaForTokenClassification"]
    # As transformers' own script for words saves it: a text's first word has its space, too.
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.add_prefix_space
    words = ROWS[0]["words"]
    pieces = [tokenizer_of("roberta").encode(f" {w}", add_special_tokens=False) for w in words]
    encoded = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert encoded[1:-1] == [token for word in pieces for token in word]
    text = " ".join(words)
    theirs = transformers.pipeline("token-classification", model=str(folder))(text)
    ours = jaxbert.Tagger.from_pretrained(folder)(text)
    assert [one["start"] for one in ours] == [one["start"] for one in theirs]
    np.testing.assert_allclose(
        [one["score"] for one in ours], [one["score"] for one in theirs], atol=1e-5
    )
