"""The demo of question answering: texts of our own (CC0 1.0), and a recipe for so few of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxbert.data.questions import read_qa

_HERE = Path(__file__).parent

QA_OPTIONS: dict[str, Any] = {
    "model_name_or_path": "minilm-l6",
    "train_file": [str(_HERE / "qa_en_train.json")],
    "validation_file": [str(_HERE / "qa_en_dev.json")],
    "output_dir": "runs/qa_demo",
    "num_train_epochs": 5.0,
    "per_device_train_batch_size": 8,
    "learning_rate": 2e-4,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
}


def show_answers(answerer: Callable[..., Any]) -> str:
    """The three demo questions with the model's answers and its confidence in each."""
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
