"""jaxbert: BERT fine-tuning in JAX/Flax."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbert.api import Run, evaluate, train
    from jaxbert.decoding.spans import Spans, decode_spans
    from jaxbert.errors import InputError
    from jaxbert.metrics.scores import Metric
    from jaxbert.model.config import BertConfig
    from jaxbert.model.heads import init_params, make_apply
    from jaxbert.model.pretrained import load_pretrained, save_pretrained
    from jaxbert.predictors.fill_mask import FillMask
    from jaxbert.predictors.question_answerer import QuestionAnswerer
    from jaxbert.predictors.tagger import Tagger
    from jaxbert.predictors.text_predictors import TextClassifier, TextRegressor
    from jaxbert.together import TogetherRun, train_together

# Imported when they are asked for (PEP 562): what needs no JAX does not wait for it.
_MODULES = {
    "BertConfig": "model.config",
    "FillMask": "predictors.fill_mask",
    "InputError": "errors",
    "Metric": "metrics.scores",
    "QuestionAnswerer": "predictors.question_answerer",
    "Run": "api",
    "Spans": "decoding.spans",
    "Tagger": "predictors.tagger",
    "TextClassifier": "predictors.text_predictors",
    "TextRegressor": "predictors.text_predictors",
    "TogetherRun": "together",
    "decode_spans": "decoding.spans",
    "evaluate": "api",
    "init_params": "model.heads",
    "load_pretrained": "model.pretrained",
    "make_apply": "model.heads",
    "save_pretrained": "model.pretrained",
    "train": "api",
    "train_together": "together",
}

__all__ = [
    "BertConfig",
    "FillMask",
    "InputError",
    "Metric",
    "QuestionAnswerer",
    "Run",
    "Spans",
    "Tagger",
    "TextClassifier",
    "TextRegressor",
    "TogetherRun",
    "decode_spans",
    "evaluate",
    "init_params",
    "load_pretrained",
    "make_apply",
    "save_pretrained",
    "train",
    "train_together",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
