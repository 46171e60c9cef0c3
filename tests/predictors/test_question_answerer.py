"""QuestionAnswerer: the answers of the pipeline that transformers removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert import InputError, QuestionAnswerer

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
    assert sum(f["score"] for f in found) <= 1 + 1e-9
    assert found[0] == answerer(question="Who met Zoe?", context=CONTEXT)


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
    (step,) = {id(s): s for s in answerer._compiled.values()}.values()
    before = step._cache_size()
    answerer(question="Where?", context=CONTEXT.replace("Ada", "Bob"))
    assert step._cache_size() == before


def test_max_answer_len(answerer: QuestionAnswerer) -> None:
    found = answerer(question="Who?", context="a b c d", max_answer_len=1, top_k=9)
    assert {f["answer"] for f in found} == {"a", "b", "c", "d"}
    assert len(found) == 4


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
        ("Who?", " \n", {}, "context 0 is empty"),
        (["Who?"] * 2, [CONTEXT] * 3, {}, "2 questions and 3 contexts"),
        ("Who?", [CONTEXT, None], {}, "context 1 is empty or not a string"),
        (None, CONTEXT, {}, "question is of the wrong type: NoneType"),
        ("Who?", {"text": CONTEXT}, {}, "context is of the wrong type: dict"),
        ("Who?", CONTEXT, {"top_k": 0}, "top_k is 0"),
    ],
)
def test_wrong_input_is_named(
    answerer: QuestionAnswerer, question: Any, context: Any, more: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        answerer(question=question, context=context, **more)
