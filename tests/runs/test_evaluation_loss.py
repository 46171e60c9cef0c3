"""eval_loss of every task: PyTorch's mean loss on the same rows, whatever the batches."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from conftest import SMALL

from jaxbert.benchmark import pytorch
from jaxbert.data.features import Features
from jaxbert.data.sampling import bucket_lengths, make_batch
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.model.config import MULTI_LABEL
from jaxbert.model.heads import init_params
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import (
    ClassificationEvalOptions,
    MLMEvalOptions,
    MultipleChoiceEvalOptions,
    QAEvalOptions,
    RegressionEvalOptions,
    RegressionSettings,
    TaggingEvalOptions,
)
from jaxbert.runs.evaluate import Evaluator
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging
from jaxbert.tasks.task import EVALUATION
from jaxbert.training.parallel import Parallel, make_parallel

pytestmark = pytest.mark.integration

TEXTS = ["the of and", "who was at", "in which", "the the the is", "is", "to at and the who"]
ROWS = [{"text": text} for text in TEXTS]
NUMBERS = (1.0, 2.5, -3.0, 0.0, 4.0, 1.5)
SETS = (["a"], [], ["a", "b", "c"], ["c"], ["b", "c"], [])


def qa_rows() -> dict[str, Any]:
    """The words that are asked for; every window is as long as the others."""
    data = []
    for number, word in enumerate(("who", "at", "is")):
        context = f"{'the ' * number}{word}{' the' * (4 - number)}"
        answers = [{"text": word, "answer_start": context.index(word)}]
        qa = {"id": str(number), "question": "what is it", "answers": answers}
        data.append({"paragraphs": [{"context": context, "qas": [qa]}]})
    return {"data": data}


SIZES: dict[str, Any] = {"max_seq_length": 16, "length_bucket": 8}
CASES: dict[str, tuple[Any, Any, Any, str | None]] = {
    "qa": (QA, QAEvalOptions(**SIZES, doc_stride=2, max_answer_length=30), qa_rows(), None),
    "classification": (
        Classification,
        ClassificationEvalOptions(**SIZES),
        [row | {"label": "abc"[n % 3]} for n, row in enumerate(ROWS)],
        "single_label_classification",
    ),
    "multi-label": (
        Classification,
        ClassificationEvalOptions(**SIZES),
        [row | {"labels": names} for row, names in zip(ROWS, SETS, strict=True)],
        MULTI_LABEL,
    ),
    "regression": (
        Regression,
        RegressionEvalOptions(**SIZES),
        [row | {"score": x} for row, x in zip(ROWS, NUMBERS, strict=True)],
        "regression",
    ),
    "tagging": (
        Tagging,
        TaggingEvalOptions(**SIZES),
        [
            {"tokens": text.split(), "tags": ["abc"[len(w) % 3] for w in text.split()]}
            for text in TEXTS
        ],
        None,
    ),
    "multiple_choice": (
        MultipleChoice,
        MultipleChoiceEvalOptions(**SIZES),
        [{"question": t, "choices": ["the", "who is"], "label": len(t) % 2} for t in TEXTS],
        None,
    ),
    "mlm": (MLM, MLMEvalOptions(**SIZES, mlm_probability=0.5, line_by_line=True), ROWS, None),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=512)


def evaluator(task: Any, options: Any, loaded: LoadedModel, examples: Any, features: Any) -> Any:
    return Evaluator(
        task,
        loaded,
        examples,
        features,
        size=options.per_device_eval_batch_size * loaded.compute.parallel.devices,
        buckets=bucket_lengths(options.length_bucket, options.max_seq_length),
    )


class Model:
    """A case's examples with a model of random weights."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        task_cls, self.options, content, problem = CASES[name]
        self.task = task_cls(self.options.part(task_cls.settings_cls)).fit_to(None, None)
        changes = {"vocab_size": 512, "problem_type": problem, "max_position_embeddings": 16}
        names = {"regression": ("score",), "qa": (), "multiple_choice": (), "mlm": ()}
        changes["id2label"] = names.get(name, SMALL.id2label)
        self.cfg = type(SMALL)(**{**vars(SMALL), **changes})
        self.tokenizer = tokenizer
        self.examples = self.task.read([("f", content)]).examples
        draw = jax.jit(functools.partial(init_params, self.cfg, self.task.head))
        self.params = jax.device_get(draw(jax.random.key(0)))
        self.features = self.task.encode(self.examples, tokenizer, self.cfg)

    def loaded(self, parallel: Parallel) -> LoadedModel:
        compute = Compute(parallel=parallel)
        return LoadedModel(self.cfg, self.params, self.tokenizer, self.task.head, compute)

    def loss(self, devices: int = 1, **changes: int) -> float:
        options = type(self.options)(**{**vars(self.options), **changes})
        parallel = make_parallel("auto", jax.local_devices()[:devices])
        loaded = self.loaded(parallel)
        found = evaluator(self.task, options, loaded, self.examples, self.features)()
        assert found is not None
        value = found[0]["eval_loss"]
        assert isinstance(value, float)
        return value

    def windows(self, numbers: np.ndarray) -> dict[str, Any]:
        length = int(self.features.lengths[numbers].max())
        batch = make_batch(self.features, numbers, length, len(numbers))
        corrupt = self.task.corrupt(self.tokenizer, self.cfg, seed=0)
        batch = corrupt(batch, EVALUATION) if corrupt else batch
        return pytorch.to_torch(self.task.head, batch, labelled=True)


def torch_loss(model: Model) -> float:
    """transformers' own loss; of tokens without padding, whose mean is of all labelled ones."""
    theirs = pytorch.load_model(model.cfg, model.params, model.task.head).eval()
    total = count = 0.0
    for number in range(len(model.features)):
        batch = model.windows(np.array([number]))
        weight = 1.0
        if model.task.head in ("tagging", "mlm"):
            weight = float((batch["labels"] >= 0).sum())
        if weight:
            with torch.inference_mode():
                total += weight * theirs(**batch).loss.item()
            count += weight
    return total / count


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_mean_loss_of_pytorch_in_any_batches(name: str, tokenizer: Any) -> None:
    model = Model(name, tokenizer)
    found = model.loss(per_device_eval_batch_size=4)
    assert found == pytest.approx(torch_loss(model), abs=1e-5)
    again = model.loss(devices=2, per_device_eval_batch_size=1, length_bucket=0)
    assert again == pytest.approx(found, rel=1e-6)


def test_of_scaled_targets_it_is_in_their_own_scale(tokenizer: Any) -> None:
    model = Model("regression", tokenizer)
    task = Regression(RegressionSettings(max_seq_length=16, target_scaling=["2", "3"]))
    model.features = task.encode(model.examples, tokenizer, model.cfg)
    loaded = model.loaded(make_parallel("jit", jax.local_devices()[:1]))
    found = evaluator(task, model.options, loaded, model.examples, model.features)()
    assert found is not None
    assert found[0]["eval_loss"] == pytest.approx(found[0]["mse"], rel=1e-5)


def test_a_question_whose_answer_is_not_found_is_no_part_of_it(tokenizer: Any) -> None:
    model = Model("qa", tokenizer)
    content = qa_rows()
    wrong = {"text": "nowhere", "answer_start": 0}
    content["data"][1]["paragraphs"][0]["qas"][0]["answers"] = [wrong]
    whole = model.task.read([("f", content)]).examples
    assert [model.task.learnable(e) for e in whole] == [True, False, True]
    # Nor is one of which nothing says whether it has an answer: it is not learned either.
    bare = dict(content["data"][2]["paragraphs"][0]["qas"][0], answers=[], is_impossible=False)
    content["data"][2]["paragraphs"][0]["qas"].append({**bare, "id": "bare"})
    others = model.task.read([("f", content)]).examples
    assert [model.task.learnable(e) for e in others] == [True, False, True, False]
    model.examples = whole
    model.features = model.task.encode(whole, tokenizer, model.cfg)
    found = model.loss()
    model.examples = tuple(e for e in whole if model.task.learnable(e))
    model.features = model.task.encode(model.examples, tokenizer, model.cfg)
    assert found == pytest.approx(model.loss(), rel=1e-6)


def test_without_labels_there_is_none_and_nothing_is_asked_of_the_batch(tokenizer: Any) -> None:
    model = Model("classification", tokenizer)
    examples = model.task.read([("f", ROWS)]).examples
    features = model.task.encode(examples, tokenizer, model.cfg)
    assert isinstance(features, Features)
    assert "labels" not in features.rows
    loaded = model.loaded(make_parallel("jit", jax.local_devices()[:1]))
    found = evaluator(model.task, model.options, loaded, examples, features)()
    assert found is not None
    assert found[0] == {}
    assert len(found[1]) == len(TEXTS)


def test_a_loss_that_is_not_finite_is_left_out(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model("classification", tokenizer)
    bias = model.params["classifier"]["bias"]
    model.params["classifier"]["bias"] = np.array([math.inf, *bias[1:]], np.float32)
    loaded = model.loaded(make_parallel("jit", jax.local_devices()[:1]))
    found = evaluator(model.task, model.options, loaded, model.examples, model.features)()
    assert found is not None
    assert "eval_loss" not in found[0]
    assert "accuracy" in found[0]
    assert "not finite; it is left out" in caplog.text
