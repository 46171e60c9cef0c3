"""The demo's rows as a Python program would hold them, and the smallest settings of a training."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conftest import DEMO

Row = dict[str, Any]

FILES = {
    "qa": "qa_en_{}.json",
    "classification": "classification_{}.tsv",
    "regression": "regression_{}.tsv",
    "multiple_choice": "multiple_choice_{}.jsonl",
    "tagging": "tagging_{}.conll",
    "mlm": "mlm_{}.txt",
}
# Six steps, always as many: the schedule is part of what is compiled.
SMALL_RUN: Mapping[str, Any] = {
    "max_steps": 6,
    "eval_steps": 6,
    "max_train_samples": 12,
    "max_eval_samples": 4,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "max_seq_length": 64,
    "length_bucket": 0,
    "quiet": True,
}
# What a task needs beside it: room for a question, for instance.
OF_TASK: Mapping[str, dict[str, Any]] = {"qa": {"max_seq_length": 192, "doc_stride": 32}}


def file_of(task: str, part: str) -> Path:
    return DEMO / FILES[task].format(part)


def rows_of(task: str, part: str) -> list[Row]:
    """Read without jaxbert."""
    path = file_of(task, part)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".tsv":
        return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".conll":
        sentences = [block.splitlines() for block in text.strip().split("\n\n")]
        pairs = [[line.split("\t") for line in lines] for lines in sentences]
        return [{"tokens": [w for w, _ in s], "ner_tags": [t for _, t in s]} for s in pairs]
    if path.suffix == ".txt":
        return [{"text": line} for line in text.splitlines() if line.strip()]
    return [
        {
            "id": question["id"],
            "question": question["question"],
            "context": paragraph["context"],
            "answers": {
                "text": [a["text"] for a in question["answers"]],
                "answer_start": [a["answer_start"] for a in question["answers"]],
            },
        }
        for article in json.loads(text)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
