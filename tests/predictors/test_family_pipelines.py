"""Predictors of every family against transformers' pipelines of the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from family_folders import CONFIGS, SENTENCES, make_folder, tokenizer_of
from tiny_models import assert_near

from jaxbert import FillMask, QuestionAnswerer, Tagger, TextClassifier
from jaxbert.model.families import FAMILIES

pytestmark = pytest.mark.integration

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
TEXTS = ["Anna  likes \U0001f682!", "e\u0301lan x", " the caf\u00e9\u0301\n a", "a"]
OTHERS = pytest.mark.parametrize("family", CONFIGS)


def folder_of(folder: Path, family: str, head: str, **more: Any) -> Path:
    """A folder as transformers wrote it, with token types where the family reads them."""
    make_folder(folder, family, FAMILIES[family].classes[head], **more)
    return folder


@OTHERS
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words:UserWarning")
def test_predictors_answer_as_pipelines(tmp_path: Path, family: str) -> None:
    names = dict(enumerate(LABELS))
    tags = folder_of(tmp_path / "tags", family, "tagging", id2label=names)
    tag, pipeline = (
        Tagger.from_pretrained(tags),
        transformers.pipeline("token-classification", model=str(tags)),
    )
    for strategy in ("none", "simple", "first", "max"):
        keywords: dict[str, Any] = {"aggregation_strategy": strategy, "ignore_labels": []}
        assert_near(tag(TEXTS, **keywords), pipeline(TEXTS, **keywords))

    mlm = folder_of(tmp_path / "mlm", family, "mlm")
    mask = tokenizer_of(family).mask_token
    masked = [f"Anna {mask}  x", f"{mask}", f"e\u0301{mask} \U0001f682"]
    fill = FillMask.from_pretrained(mlm)
    assert_near(fill(masked), transformers.pipeline("fill-mask", model=str(mlm))(masked))

    classes = folder_of(tmp_path / "classes", family, "classification", id2label=names)
    if family == "albert":  # its tokenizer gives no token types in transformers 5
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            classes, model_input_names=["input_ids", "token_type_ids", "attention_mask"]
        )
        tokenizer.save_pretrained(classes)
    pairs: list[Any] = [*TEXTS, {"text": TEXTS[0], "text_pair": TEXTS[1]}]
    classify = TextClassifier.from_pretrained(classes)
    theirs = transformers.pipeline("text-classification", model=str(classes))
    assert_near(classify(pairs, top_k=None), theirs(pairs, top_k=None))


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_answers_are_of_the_text(tmp_path: Path, family: str) -> None:
    answerer = QuestionAnswerer.from_pretrained(folder_of(tmp_path, family, "qa"))
    for context in SENTENCES:
        found = answerer(question="Where?", context=context, top_k=3, doc_stride=4)
        for answer in found if isinstance(found, list) else [found]:
            assert context[answer["start"] : answer["end"]] == answer["answer"]
