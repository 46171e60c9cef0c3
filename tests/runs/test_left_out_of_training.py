"""What cannot be learned has no weight: a training is that without it, bit for bit, and says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINIEST
from scripts import call, refuses, steps_of, weights

from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QATrainOptions
from jaxbert.runs.encoding import encode_examples
from jaxbert.runs.inputs import read_examples
from jaxbert.tasks.qa import QA

pytestmark = pytest.mark.integration

CONTEXT = "The oak stands by the river. The elm stands  by the hill."


def question(number: int, answers: Any, /, **fields: Any) -> dict[str, Any]:
    row = {"id": str(number), "question": f"What is at {number}?", "context": CONTEXT}
    return row | ({} if answers is None else {"answers": answers}) | fields


def at(text: str) -> list[dict[str, Any]]:
    return [{"text": text, "answer_start": max(0, CONTEXT.find(text))}]


SOUND = [question(1, at("oak")), question(2, at("by the hill")), question(3, at("the river"))]
REPAIRED = question(4, [{"text": "stands by the hill", "answer_start": 37}])
ODD = [
    question(5, at("the pine")),
    question(6, at("The  oak!")),
    question(7, [{"text": "", "answer_start": 0}]),
    question(8, [], is_impossible=False),
    question(9, None),
]


def json_lines(rows: list[Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def words(folder: Path, model: Path, train: str, *others: str) -> list[str]:
    return [
        *("--model_name_or_path", str(model), "--train_file", train, "--output_dir", str(folder)),
        *("--max_seq_length", "128", "--doc_stride", "32", "--length_bucket", "0"),
        *("--num_train_epochs", "1", "--per_device_train_batch_size", "2", *others),
    ]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage().strip() for record in caplog.records]
    caplog.clear()
    return lines


def test_a_training_is_that_without_what_cannot_be_learned(
    tiniest_folder: Path,
    tmp_path: Path,
    write: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the order of the others nor their dropout knows of it. Scores are of all questions,
    and of a contradiction the answers decide, as in the official script."""
    mixed = [ODD[0], SOUND[0], ODD[1], ODD[2], SOUND[1], REPAIRED, ODD[3], ODD[4], SOUND[2]]
    clean = [SOUND[0], SOUND[1], question(4, at("stands  by the hill")), SOUND[2]]
    held_out = [SOUND[0], ODD[0], ODD[2], question(10, at("oak"), is_impossible=True)]
    held_out += [question(11, []), ODD[3]]
    options = ["--version_2_with_negative"]
    with caplog.at_level(logging.INFO, "jaxbert"):
        call(
            "train/qa.py",
            *words(
                tmp_path / "clean",
                tiniest_folder,
                write(json_lines(clean), "train.jsonl"),
                *options,
            ),
        )
        assert not any("left out of training" in line for line in said(caplog))
        options += ["--validation_file", write(json_lines(held_out), "validation.jsonl")]
        call(
            "train/qa.py",
            *words(
                tmp_path / "mixed",
                tiniest_folder,
                write(json_lines(mixed), "train.jsonl"),
                *options,
            ),
        )
    assert weights(tmp_path / "mixed") == weights(tmp_path / "clean")
    assert steps_of(tmp_path / "mixed") == steps_of(tmp_path / "clean")
    lines = said(caplog)
    for expected in (
        "4 of 4 gold answers fit in a window",
        "2 of 9 questions are left out of training: the answer is not in the paragraph",
        "1 of 9 questions is left out of training: the answer is empty; if there is none, give "
        '"answers": []',
        "2 of 9 questions are left out of training: nothing says whether there is an answer",
    ):
        assert expected in lines
    scores = json.loads((tmp_path / "mixed" / "metrics.json").read_text())
    assert (scores["total"], scores["HasAns_total"], scores["NoAns_total"]) == (6, 4, 2)


@pytest.mark.parametrize("flags", [(), ("--strict",), ("--version_2_with_negative",)])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [question(1, None, answer={"text": "oak", "answer_start": 4})],
            "no question has answers; the fields are id, question, context, answer; expected "
            'answers: [{"text": ..., "answer_start": ...}]',
        ),
        (
            [question(1, None, answer_text="oak", answer_start=4)],
            "the fields are id, question, context, answer_text, answer_start; expected answers",
        ),
        ([question(1, None, answer="oak"), question(2, None)], "no question has answers"),
        ([question(1, [], is_impossible=True), question(2, [])], "no question has answers"),
        ([question(1, None, Answers=at("oak"))], "question, context, Answers; expected"),
        (
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": CONTEXT,
                                "qas": [{"id": "a", "question": "What?", "answer": at("oak")[0]}],
                            }
                        ]
                    }
                ]
            },
            "no question has answers; the fields are id, question, answer; expected",
        ),
        (
            [
                {
                    "context_text": "橡树在河边。",
                    "qas": [{"query_id": "a", "query_text": "在哪里?", "answer": ["河边"]}],
                }
            ],
            "no question has answers; the fields are query_id, query_text, answer; expected",
        ),
    ],
)
def test_no_answers_at_all_are_refused(
    tiniest_folder: Path, tmp_path: Path, rows: Any, expected: str, flags: tuple[str, ...]
) -> None:
    train = tmp_path / "train.json"
    train.write_text(json.dumps(rows))
    message = refuses("train/qa.py", *words(tmp_path / "out", tiniest_folder, str(train), *flags))
    assert message.startswith(f"{train}: ")
    assert expected in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [(), ("--version_2_with_negative",)])
def test_validation_data_of_another_field_is_refused(
    tiniest_folder: Path, tmp_path: Path, write: Callable[..., str], flags: tuple[str, ...]
) -> None:
    """With --version_2_with_negative all of it would be scored as without an answer."""
    held_out = write(json_lines([question(1, None, answer="oak")]), "validation.jsonl")
    others = ["--validation_file", held_out, *flags]
    message = refuses(
        "train/qa.py",
        *words(tmp_path / "out", tiniest_folder, write(json_lines(SOUND), "train.jsonl"), *others),
    )
    assert message.startswith(f"{held_out}: no question has answers; the fields are id, question")


def test_all_answers_elsewhere_are_refused(
    tiniest_folder: Path, tmp_path: Path, write: Callable[..., str]
) -> None:
    train = write(json_lines(ODD[:3]), "train.jsonl")
    message = refuses("train/qa.py", *words(tmp_path / "out", tiniest_folder, train))
    assert message == (
        f"{train}: nothing can be learned from it: 2 of 3 questions are left out of training: the "
        "answer is not in the paragraph; 1 of 3 questions is left out of training: the answer is "
        'empty; if there is none, give "answers": []'
    )
    assert not (tmp_path / "out").exists()


def test_no_best_model_by_a_loss_that_the_validation_data_cannot_have(
    tiniest_folder: Path, tmp_path: Path, write: Callable[..., str]
) -> None:
    """Said before the first step, not after the first evaluation."""
    best = ["--metric_for_best_model", "eval_loss", "--load_best_model_at_end"]
    given = ["--validation_file", write(json_lines(ODD[:2]), "validation.jsonl"), *best]
    message = refuses(
        "train/qa.py",
        *words(tmp_path / "o", tiniest_folder, write(json_lines(SOUND), "train.jsonl"), *given),
    )
    assert message.startswith("--metric_for_best_model eval_loss: ")
    assert "so they have no eval_loss" in message
    assert not (tmp_path / "o").exists()


def test_questions_without_an_answer_are_counted(
    tiniest_folder: Path, write: Callable[..., str]
) -> None:
    train = write(
        json_lines([*SOUND, question(4, []), question(5, None, is_impossible=True)]), "train.jsonl"
    )
    line = (
        "2 of 5 questions have no answer, which is learned; only with --version_2_with_negative "
        "can a prediction be none"
    )
    tokenizer = load_tokenizer(tiniest_folder)
    for negative in (False, True):
        options = QATrainOptions(train_file=[train], version_2_with_negative=negative)
        task = QA(options.part(QA.settings_cls))
        data = read_examples(task, options.training_source())
        assert data is not None
        features = encode_examples(task, data.examples, tokenizer, TINIEST)
        assert (line in features.notes) == (not negative)
        assert features.learnable is None


def test_text_of_unknown_tokens_alone_is_refused(tiniest_folder: Path, tmp_path: Path) -> None:
    """No [UNK] is ever masked: such a training would go through its steps and learn nothing."""
    train = tmp_path / "train.txt"
    train.write_text("茶叶\n茶叶茶叶\n", encoding="utf-8")
    words = ["--model_name_or_path", str(tiniest_folder), "--train_file", str(train)]
    words += ["--output_dir", str(tmp_path / "out"), "--line_by_line", "--max_seq_length", "16"]
    message = refuses("train/mlm.py", *words)
    assert message == (
        f"{train}: nothing can be learned from it: 2 of 2 windows are left out of training: all "
        "tokens are [UNK] or special"
    )
