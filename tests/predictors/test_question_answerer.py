"""QuestionAnswerer: the answers of the pipeline that transformers removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from jaxbert import InputError, QuestionAnswerer
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import QAExample
from jaxbert.data.sampling import make_batch
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.model.heads import make_apply
from jaxbert.model.pretrained import load_pretrained
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QAOptions
from jaxbert.tasks.qa import QA

pytestmark = pytest.mark.integration

CONTEXT = "Ada met Zoe\u0308 in 北京. Then Ada left at 25°C, by the scaly-foot train \U0001f682."


@pytest.fixture(scope="module")
def answerer(tiny_folder: Path) -> QuestionAnswerer:
    return QuestionAnswerer.from_pretrained(tiny_folder)


def check(found: dict[str, Any], context: str = CONTEXT) -> None:
    assert list(found) == ["score", "start", "end", "answer"]
    assert found["answer"] == context[found["start"] : found["end"]] != ""
    assert 0 < found["score"] <= 1


def test_one_question_gives_one_dict(answerer: QuestionAnswerer) -> None:
    found = answerer(question="Who met Zoe?", context=CONTEXT)
    assert isinstance(found, dict)
    check(found)


def test_top_k_gives_a_list_best_first_without_duplicates(answerer: QuestionAnswerer) -> None:
    found = answerer(question="Who met Zoe?", context=CONTEXT, top_k=5)
    assert isinstance(found, list)
    assert len(found) == 5
    for one in found:
        check(one)
    assert [f["score"] for f in found] == sorted((f["score"] for f in found), reverse=True)
    assert len({(f["start"], f["end"]) for f in found}) == 5
    # The score is a sum over the spans that are widened to these words; of more, more are seen.
    alone = answerer(question="Who met Zoe?", context=CONTEXT)
    assert alone["answer"] == found[0]["answer"]
    assert 0 < alone["score"] <= found[0]["score"]


def test_a_list_equals_one_by_one(answerer: QuestionAnswerer) -> None:
    questions = ["Who?", "Where did Ada meet Zoe?", "At what temperature?"]
    contexts = [CONTEXT, CONTEXT * 30, "It was 25°C."]
    many = answerer(question=questions, context=contexts)
    for q, c, found in zip(questions, contexts, many, strict=True):
        one = answerer(question=q, context=c)
        assert isinstance(one, dict)
        assert isinstance(found, dict)
        assert {k: found[k] for k in ("start", "end", "answer")} == {
            k: one[k] for k in ("start", "end", "answer")
        }
        np.testing.assert_allclose(found["score"], one["score"], rtol=1e-4)
    assert answerer(question="Who?", context=contexts)[0] == many[0]
    assert answerer(question=[], context=[]) == []


def test_shapes_are_compiled_once(answerer: QuestionAnswerer) -> None:
    answerer(question="Who?", context=CONTEXT)
    (step,) = {id(s): s for s in answerer.model.programs.values()}.values()
    before = step._cache_size()
    answerer(question="Where?", context=CONTEXT.replace("Ada", "Bob"))
    assert step._cache_size() == before


def test_max_answer_len(answerer: QuestionAnswerer) -> None:
    found = answerer(question="Who?", context="a b c d", max_answer_len=1, top_k=9)
    assert {f["answer"] for f in found} == {"a", "b", "c", "d"}
    assert len(found) == 4
    found = answerer(question="Who?", context="a b c d", max_answer_len=2, top_k=9)
    assert {f["answer"] for f in found} == {"a", "b", "c", "d", "a b", "b c", "c d"}


def test_the_empty_answer_only_where_it_is_allowed(answerer: QuestionAnswerer) -> None:
    ask = {"question": "Who?", "context": "the of", "top_k": 9}
    assert "" not in [f["answer"] for f in answerer(**ask)]
    found = answerer(**ask, handle_impossible_answer=True)
    assert next(f for f in found if f["answer"] == "")["start"] == 0


def test_lone_surrogates_do_no_harm(answerer: QuestionAnswerer) -> None:
    found = answerer(question="Who \ud83d?", context="Ada \ude82 left")
    assert isinstance(found, dict)
    check(found, "Ada \ufffd left")


@pytest.mark.parametrize(
    ("question", "context", "more", "message"),
    [
        ("", CONTEXT, {}, "question 0 is empty"),
        ("Who?", "", {}, "context 0 is empty"),
        (["Who?"] * 2, [CONTEXT] * 3, {}, "2 questions and 3 contexts"),
        ("Who?", [CONTEXT, None], {}, "context 1 is empty or not a string"),
        (None, CONTEXT, {}, "question has the wrong type: NoneType"),
        ("Who?", {"text": CONTEXT}, {}, "context has the wrong type: dict"),
        ("Who?", CONTEXT, {"top_k": 0}, "top_k is 0"),
        ("Who?", CONTEXT, {"topk": "three"}, "top_k is 'three': it must be an integer"),
        ("Who?", CONTEXT, {"doc_stride": -1}, "doc_stride is -1"),
        ("Who?", CONTEXT, {"padding": "sideways"}, "padding is 'sideways'; give True"),
        ("Who?", CONTEXT, {"data": []}, "give question= and context=, or a dict"),
        ("Who?", CONTEXT, {"calibrated": True, "align_to_words": True}, "omit align_to_words"),
        ("Who? " * 9, CONTEXT, {"max_seq_len": 30}, "question 0 has 18 tokens and leaves 9 of"),
        (
            "Who?",
            CONTEXT * 20,
            {"max_seq_len": 600},
            "the model has 512 positions; give a max_seq_len",
        ),
    ],
)
def test_wrong_input_is_named(
    answerer: QuestionAnswerer, question: Any, context: Any, more: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        answerer(question=question, context=context, **more)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (5, "the input has the wrong type: int; give question= and context="),
        (None, "the input has the wrong type: NoneType"),
        ("Who?", "the input has the wrong type: str"),
        (np.array("Who?"), "the input has the wrong type: ndarray; give question= and context="),
        (pandas.DataFrame({"question": ["Who?"]}), "the input has the wrong type: DataFrame"),
        ({"question": "Who?", "text": "Ada"}, 'question 0: no field "context"; it has question'),
        (
            {"question": "Who?", "context": "Ada", "top_k": 3},
            "question 0 has other fields than question and context: top_k; remove them",
        ),
        ([{"question": "Who?", "context": "Ada"}, "Who?"], "question 1 has the wrong type: str"),
        ([{"question": "Who?", "context": "A"}] * 2 + [{"question": "", "context": "A"}], "n 2 is"),
    ],
)
def test_wrong_dicts_are_named(answerer: QuestionAnswerer, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        answerer(inputs)


def test_what_the_pipeline_has_not_is_refused(
    answerer: QuestionAnswerer, tiny_folder: Path
) -> None:
    with pytest.raises(TypeError, match="max_seq_length"):
        answerer("Who?", CONTEXT, max_seq_length=64)
    with pytest.raises(TypeError, match="device"):
        QuestionAnswerer.from_pretrained(tiny_folder, device=0)


def test_every_form_of_a_call_gives_the_same(answerer: QuestionAnswerer) -> None:
    one, two = {"question": "Who?", "context": CONTEXT}, {"question": "Where?", "context": CONTEXT}
    first, second = answerer(**one), answerer(**two)
    assert answerer(one) == answerer([one]) == answerer(data=one) == answerer(X=[one]) == first
    assert answerer("Who?", CONTEXT) == answerer("Who?", context=CONTEXT) == first
    assert answerer(question=["Who?"], context=[CONTEXT]) == first
    for both in ([one, two], (one, two)):
        assert answerer(both) == answerer(*both) == answerer(data=both) == [first, second]
    assert answerer(["Who?", "Where?"], CONTEXT) == [first, second]
    assert answerer({"question": ["Who?", "Where?"], "context": [CONTEXT] * 2}) == [first, second]


def test_a_generator_is_answered_as_it_comes(answerer: QuestionAnswerer) -> None:
    taken = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal taken
        while True:  # no end
            taken += 1
            yield {"id": str(taken), "question": "Who?", "context": CONTEXT}

    found = answerer(rows(), batch_size=2)
    assert isinstance(found, Iterator)
    assert taken == 0
    assert next(found) == answerer(question="Who?", context=CONTEXT)
    assert taken == 2


@pytest.mark.parametrize("calibrated", [False, True])
def test_an_answer_does_not_depend_on_the_others(
    answerer: QuestionAnswerer, calibrated: bool
) -> None:
    """Not even on how many of them are Chinese, by which a training chooses its metric."""
    rows = [{"question": "Who?", "context": CONTEXT}]
    rows += [{"question": "首都是哪里？", "context": "北京是中国的首都。" * 12}] * 9
    ask = {"top_k": 50, "calibrated": calibrated}
    (together, *others), alone = answerer(rows, **ask), answerer(rows[0], **ask)
    assert [a["answer"] for a in together] == [a["answer"] for a in alone]
    assert others[0] == others[-1]


def test_words_are_never_cut(answerer: QuestionAnswerer) -> None:
    """Every letter of the tiny vocabulary is a token."""
    text = CONTEXT.replace("\u0308", "")
    found = answerer(question="Who?", context=text, top_k=40)
    pairs = [(i, text[i - 1 : i + 1]) for i in range(1, len(text))]
    cut = {i for i, both in pairs if both.isascii() and both.isalnum()}
    assert not cut & {place for f in found for place in (f["start"], f["end"])}
    tokens = answerer(question="Who?", context=text, top_k=40, align_to_words=False)
    assert cut & {place for f in tokens for place in (f["start"], f["end"])}


def test_the_score_is_the_product_of_two_softmaxes(answerer: QuestionAnswerer) -> None:
    """Over [CLS] and the context's tokens, of which there are four; scores of all spans."""
    found = answerer(question="Who?", context="a b c d", top_k=50, max_answer_len=4)
    null = answerer(question="Who?", context="a b c d", top_k=50, handle_impossible_answer=True)
    starts: dict[int, dict[int, float]] = {}
    for one in found:
        starts.setdefault(one["start"], {})[one["end"]] = one["score"]
    assert len(found) == 10
    # p(start) p(end): the quotient for two ends is the same from either start.
    assert starts[0][5] / starts[0][7] == pytest.approx(starts[2][5] / starts[2][7], rel=1e-6)
    assert starts[0][3] / starts[0][7] == pytest.approx(starts[2][3] / starts[2][7], rel=1e-6)
    assert sum(one["score"] for one in null) < 1
    assert {one["answer"] for one in null} == {one["answer"] for one in found} | {""}


def test_calibrated_answers_are_those_of_an_evaluation(tiny_folder: Path) -> None:
    """With a temperature or a threshold, as calibration.json has them, that is the default."""
    options = QAOptions(version_2_with_negative=True, max_answer_length=30, score_temperature=2.0)
    cfg, params = load_pretrained(tiny_folder, "qa")
    texts = [CONTEXT, "Ada left. " * 60, "北京是中国的首都。"]
    examples = [QAExample(str(n), "Who met Zoe?", text) for n, text in enumerate(texts)]
    features = encode_qa(examples, load_tokenizer(tiny_folder))
    apply, outputs = make_apply(cfg, "qa"), []
    for window in range(len(features)):
        batch = make_batch(features, np.array([window]), 384, 1)
        found = QA(options).reduce()(apply(params, batch), batch)
        outputs.append({name: np.asarray(value) for name, value in found.items()})
    arrays = {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}
    odds = sorted(w.null_odds for w in QA(options).decode(examples, features, arrays, cfg))
    options = dataclasses.replace(options, null_score_diff_threshold=sum(odds[:2]) / 2)
    wanted = QA(options).decode(examples, features, arrays, cfg)
    model = LoadedModel.from_folder(tiny_folder, "qa", Compute(), draw_head=True)
    answerer = QuestionAnswerer(model, options)
    assert len({w.answer.text == "" for w in wanted}) == 2  # the threshold decides
    for ask in ({}, {"calibrated": True}):
        for text, prediction in zip(texts, wanted, strict=True):
            found = answerer(question="Who met Zoe?", context=text, **ask)
            assert isinstance(found, dict)
            assert found["answer"] == prediction.answer.text
            assert (found["start"], found["end"]) == prediction.answer[1:3]
            assert found["score"] == pytest.approx(prediction.answer.probability, abs=1e-5)
    readings = answerer.read(questions=["Who met Zoe?"] * len(texts), contexts=texts)
    for text, prediction, reading in zip(texts, wanted, readings, strict=True):
        assert reading.prediction.answer[:3] == prediction.answer[:3]
        assert reading.prediction.null_odds == pytest.approx(prediction.null_odds, abs=1e-4)
        assert reading.threshold == options.null_score_diff_threshold
        first, *_, last = reading.windows * 2
        assert (first.start, last.end) == (0, len(text.rstrip()))
        assert all(w.start <= w.best_start < w.best_end <= w.end for w in reading.windows)
        spoken = max(c.score for c in prediction.nbest if c.text)
        assert max(w.score for w in reading.windows) == pytest.approx(spoken, abs=1e-4)
    assert max(len(reading.windows) for reading in readings) > 1
    assert answerer.read(questions=[], contexts=[]) == []
    with pytest.raises(InputError, match="give equal numbers"):
        answerer.read(questions=["Who?"], contexts=[])
    plain = QuestionAnswerer(model, QAOptions())
    ask = {"question": "Who met Zoe?", "context": CONTEXT, "top_k": 3}
    same = {"calibrated": False, "handle_impossible_answer": False, "max_answer_len": 15}
    assert answerer(**ask, **same) == plain(**ask)
