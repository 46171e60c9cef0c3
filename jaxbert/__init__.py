"""jaxbert: BERT fine-tuning in JAX/Flax."""

from jaxbert.decoding.spans import Spans, decode_spans
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import init_params, make_apply
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.predictors import QuestionAnswerer

__all__ = [
    "BertConfig",
    "InputError",
    "QuestionAnswerer",
    "Spans",
    "decode_spans",
    "init_params",
    "load_pretrained",
    "make_apply",
    "save_pretrained",
]
