"""TextClassifier and TextRegressor against transformers' text-classification pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import transformers
from tiny_models import POSITIONS, assert_near, tiny_model

from jaxbert import InputError, TextClassifier, TextRegressor
from jaxbert.options.task_settings import ClassificationOptions, RegressionTrainOptions
from jaxbert.runs.record import RunRecord

pytestmark = pytest.mark.integration

LABELS = ("no", "maybe", "yes")
TEXTS = [
    "Who was at the station?",
    "Zoe\u0308 met 北京 at 25°C, café \U0001f682!",
    "to",
    "What is in the scaly-foot train of Ada?",
    "the of and in",
]
PAIRS = [
    {"text": "Who is Ada?", "text_pair": "Ada is in 北京."},
    {"text": "which", "text_pair": "the train to the north \U0001f682"},
    {"text": "It was 25°C.", "text_pair": "of"},
]
LONG = {"text": "the train of Ada " * 9, "text_pair": "What is in it? " * 8}


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("classification"), "classification", LABELS)


@pytest.fixture(scope="module")
def classifier(classifier_folder: Path) -> TextClassifier:
    return TextClassifier.from_pretrained(classifier_folder, batch_size=2)


@pytest.fixture(scope="module")
def classifying(classifier_folder: Path) -> Any:
    return transformers.pipeline("text-classification", model=str(classifier_folder))


@pytest.fixture(scope="module")
def regressor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("regression"), "regression", ("score",))


@pytest.fixture(scope="module")
def regressing(regressor_folder: Path) -> Any:
    return transformers.pipeline(
        "text-classification", model=str(regressor_folder), function_to_apply="none"
    )


@pytest.mark.parametrize("more", [{}, {"top_k": 1}, {"top_k": 2}, {"top_k": None}, {"top_k": 9}])
@pytest.mark.parametrize(
    "inputs", [TEXTS[0], TEXTS, TEXTS[:1], PAIRS[:1], [*PAIRS, *TEXTS, *PAIRS[::-1]]]
)
def test_classes_are_those_of_the_pipeline(
    classifier: TextClassifier, classifying: Any, inputs: Any, more: dict[str, Any]
) -> None:
    assert_near(classifier(inputs, **more), classifying(inputs, **more))


def test_a_single_pair_is_a_dict_as_there(classifier: TextClassifier, classifying: Any) -> None:
    assert_near(classifier(PAIRS[0]), classifying(PAIRS[0]))
    assert type(classifier(PAIRS[0])) is dict
    assert_near(classifier(PAIRS[0], top_k=2), classifying(PAIRS[0], top_k=2))


def test_the_texts_tell_classes_apart(classifier: TextClassifier) -> None:
    found = classifier([*TEXTS, *PAIRS])
    assert len({one["label"] for one in found}) > 1
    assert np.std([one["score"] for one in found]) > 0.05


def test_long_texts_are_cut_to_the_positions_of_the_model(
    classifier: TextClassifier, classifying: Any
) -> None:
    for inputs in ([LONG], [LONG["text"]]):
        cut = classifying(inputs, truncation=True, max_length=POSITIONS, top_k=None)
        assert_near(classifier(inputs, top_k=None), cut)


def test_max_seq_length_is_that_of_the_run(
    classifier_folder: Path, classifying: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier_folder, folder)
    options = ClassificationOptions(max_seq_length=12)
    RunRecord.of("classification", options, rows_per_step=1).write(folder)
    found = TextClassifier.from_pretrained(folder)([LONG], top_k=None)
    assert_near(found, classifying([LONG], truncation=True, max_length=12, top_k=None))
    other = classifying([LONG], truncation=True, max_length=POSITIONS, top_k=None)
    assert abs(found[0][0]["score"] - other[0][0]["score"]) > 1e-3


def test_scores_are_those_of_the_pipeline(
    regressor_folder: Path, regressing: Any, tmp_path: Path
) -> None:
    """Of a run too whose targets were scaled: the saved model has the scale in its last layer."""
    regress = TextRegressor.from_pretrained(regressor_folder, batch_size=1)
    found = regress([*TEXTS, *PAIRS])
    assert_near(found, regressing([*TEXTS, *PAIRS]))
    assert {one["label"] for one in found} == {"score"}
    assert np.std([one["score"] for one in found]) > 0.05
    assert_near(regress(TEXTS[1]), regressing(TEXTS[1]))
    assert_near(regress(PAIRS[1]), regressing(PAIRS[1]))

    folder = tmp_path / "run"
    shutil.copytree(regressor_folder, folder)
    options = RegressionTrainOptions(max_seq_length=12, target_scaling=["3", "2"])
    RunRecord.of("regression", options, rows_per_step=1).write(folder)
    cut = regressing([LONG], truncation=True, max_length=12)
    assert_near(TextRegressor.from_pretrained(folder)([LONG]), cut)


def test_nothing_and_lone_surrogates(classifier: TextClassifier) -> None:
    assert classifier([]) == classifier((), top_k=2) == []
    broken = classifier({"text": "Who \ud83d?", "text_pair": "\ude82"}, top_k=None)
    assert broken == classifier({"text": "Who \ufffd?", "text_pair": "\ufffd"}, top_k=None)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": "Who?", "text_pair": 5}, "text 0 is not a string"),
        ({"text": None, "text_pair": "Who?"}, "text 0 is not a string"),
        (["Who?", None], "text 1 is not a text"),
        ([["Who?", "Ada"]], "text 0 is not a text"),
        ({"text_pair": "Who?"}, "text 0 is not a text"),
        ({"text": "Who?", "pair": "Ada"}, "text 0 is not a text"),
        (None, "inputs has the wrong type: NoneType"),
        (5, "inputs has the wrong type: int"),
        (b"Who?", "inputs has the wrong type: bytes"),
        (bytearray(b"Who?"), "inputs has the wrong type: bytearray"),
        (np.array("Who?"), "inputs has the wrong type: ndarray; give a text or a list of texts"),
        # Its items are the names of its columns, which would be classified.
        (pandas.DataFrame({"text": ["Who?"]}), "inputs has the wrong type: DataFrame; give a text"),
        ({"text": 1}, "text 0 is not a string; give two of them for"),
    ],
)
def test_wrong_input_is_named(classifier: TextClassifier, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classifier(inputs)


def test_a_column_of_texts_is_a_list(classifier: TextClassifier) -> None:
    texts = ["Who?", "the end"]
    for column in (pandas.Series(texts), np.array(texts), (text for text in texts)):
        assert_near([*classifier(column)], classifier(texts))


@pytest.mark.parametrize("name", [None, 5, b"x", ["x"]])
def test_what_names_no_model_is_refused(name: Any) -> None:
    kind = type(name).__name__
    with pytest.raises(InputError, match=f"^the model has the wrong type: {kind}; give a folder"):
        TextClassifier.from_pretrained(name)


@pytest.mark.parametrize("dtype", ["float64", "int8", 5, None])
def test_only_the_dtypes_of_training_are_computed_in(dtype: Any, classifier_folder: Path) -> None:
    with pytest.raises(InputError, match=f"dtype is {dtype!r}: give float32, bfloat16 or"):
        TextClassifier.from_pretrained(classifier_folder, dtype=dtype)


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_1(classifier: TextClassifier, top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k is {top_k}"):
        classifier("Who?", top_k=top_k)


def test_one_output_is_a_class_by_itself(regressor_folder: Path) -> None:
    """As the pipeline has it, where config.json does not say that it is a regression."""
    pipeline = transformers.pipeline("text-classification", model=str(regressor_folder))
    assert pipeline.model.config.problem_type == "regression"
    classifier = TextClassifier.from_pretrained(regressor_folder)
    assert_near(classifier(TEXTS), pipeline(TEXTS))
    assert_near(classifier("to", top_k=None), pipeline("to", top_k=None))
    sigmoid = pipeline(TEXTS, function_to_apply="sigmoid")
    assert_near(classifier(TEXTS, function_to_apply="sigmoid"), sigmoid)


def test_a_regressor_takes_no_classes(classifier_folder: Path) -> None:
    with pytest.raises(InputError, match=r"classifier\.weight"):
        TextRegressor.from_pretrained(classifier_folder)
