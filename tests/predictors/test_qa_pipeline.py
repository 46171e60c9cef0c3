"""QuestionAnswerer against recorded answers of the pipeline that transformers removed.

With `-s` it prints how many of the calls are answered equally.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from qa_calls import ANSWERS, all_calls, digest
from qa_models import MODELS, write_model
from record_qa_pipeline import outcome
from tiny_models import assert_near

from jaxbert import QuestionAnswerer

pytestmark = pytest.mark.integration

CALLS = all_calls()
RECORD = json.loads(ANSWERS.read_text(encoding="utf-8"))
# The pipeline gives float32's underflow, and spans that it has itself ruled out, as answers of
# score 0; those that say anything are far above this.
LEAST = 1e-30


@pytest.fixture(scope="module")
def answerers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, QuestionAnswerer]:
    place = tmp_path_factory.mktemp("models")
    return {
        name: QuestionAnswerer.from_pretrained(write_model(place / name, name), batch_size=1)
        for name in MODELS
    }


def probable(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers to a single question that have a probability."""
    answers = found["answer"] if isinstance(found["answer"], list) else [found["answer"]]
    return [answer for answer in answers if answer["score"] > LEAST]


def compared(call: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """How two outcomes differ: equal, or by which row of the table in docs/pipelines.md."""
    try:
        assert_near(ours, theirs)
    except AssertionError:
        if "max_seq_length" in call["init"]:  # the pipeline ignores what it does not know
            assert ours == {"error": "TypeError"}
            return "an unknown keyword is refused"
        if "[CLS]" in str(call["kwargs"]["question"]):
            for one, other in zip(probable(ours), probable(theirs), strict=True):
                assert one["score"] > other["score"]
                assert_near(one, {**other, "score": one["score"]})
            return "a [CLS] in the question is no answer"
        assert_near(probable(ours), probable(theirs))
        return "answers without any probability are left out"
    return "equal"


def test_calls_are_those_that_were_recorded() -> None:
    assert RECORD["calls"] == digest(CALLS)
    assert RECORD["versions"]["transformers"].startswith("4.57.")
    taken = json.loads(ANSWERS.with_name("qa_pipeline_calls.json").read_text(encoding="utf-8"))
    assert taken["number"] == len(taken["calls"]) == 58
    assert len(CALLS) - 58 >= 100


def test_answers_are_those_of_the_pipeline(answerers: dict[str, QuestionAnswerer]) -> None:
    found: Counter[tuple[str, str]] = Counter()
    for call in CALLS:
        theirs = RECORD["outcomes"][call["id"]]
        # What a pipeline is made with is given by every call here.
        ours = outcome(
            answerers[call["model"]], {**call, "kwargs": {**call["init"], **call["kwargs"]}}
        )
        kind = "own" if call["id"].startswith("own") else "the pipeline's"
        if "error" in theirs:
            assert ours["error"] in ("InputError", "TypeError"), (call, ours)
            found[kind, "raise"] += 1
        else:
            found[kind, compared(call, ours, theirs)] += 1
    for kind in ("the pipeline's", "own"):
        counts = {how: n for (of, how), n in found.items() if of == kind}
        answered = sum(counts.values()) - counts["raise"]
        print(f"\n{counts['equal']} of {answered} calls ({kind}) answered equally; {counts}")
        assert counts["equal"] >= 0.95 * answered
    print(RECORD["versions"])
