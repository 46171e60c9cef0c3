"""Demos: small data sets of our own (CC0 1.0), and a recipe for so few examples of each task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def _recipe(name: str, suffix: str, **options: Any) -> dict[str, Any]:
    """The options of a demo: its files, MiniLM-L6, and what suits so few examples."""
    return {
        "model_name_or_path": "minilm-l6",
        "train_file": [str(_HERE / f"{name}_train.{suffix}")],
        "validation_file": [str(_HERE / f"{name}_dev.{suffix}")],
        "output_dir": f"runs/{name.removesuffix('_en')}_demo",
        "num_train_epochs": 5.0,
        "per_device_train_batch_size": 8,
        "learning_rate": 2e-4,
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        **options,
    }


QA = _recipe("qa_en", "json")
CLASSIFICATION = _recipe("classification", "tsv", max_seq_length=64)
REGRESSION = _recipe("regression", "tsv", max_seq_length=64, num_train_epochs=6.0)
TAGGING = _recipe("tagging", "conll", max_seq_length=64)
MULTIPLE_CHOICE = _recipe("multiple_choice", "jsonl", max_seq_length=64, num_train_epochs=4.0)
MLM = _recipe("mlm", "txt", max_seq_length=64, num_train_epochs=6.0)


def show_answers(answerer: Callable[..., Any]) -> str:
    """The three demo questions with the model's answers and its confidence in each."""
    from jaxbert.data.questions import read_qa  # the recipes are read where nothing heavy may be

    lines = []
    for example in read_qa([str(_HERE / "qa_en_ask.json")]).examples:
        found = answerer(question=example.question, context=example.context)
        lines += [
            "",
            f"{example.question}",
            f"  {found['answer']}   (confidence {found['score']:.0%}; "
            f"expected {example.answers[0].text})",
        ]
    return "\n".join(lines)
