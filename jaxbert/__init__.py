"""jaxbert: BERT fine-tuning in JAX/Flax."""

from jaxbert.decoding.spans import Spans, decode_spans
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import init_params, make_apply
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.predictors.fill_mask import FillMask
from jaxbert.predictors.question_answerer import QuestionAnswerer
from jaxbert.predictors.tagger import Tagger
from jaxbert.predictors.texts import TextClassifier, TextRegressor

__all__ = [
    "BertConfig",
    "FillMask",
    "InputError",
    "QuestionAnswerer",
    "Spans",
    "Tagger",
    "TextClassifier",
    "TextRegressor",
    "decode_spans",
    "init_params",
    "load_pretrained",
    "make_apply",
    "save_pretrained",
]
