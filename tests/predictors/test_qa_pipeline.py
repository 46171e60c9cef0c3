"""QuestionAnswerer against recorded answers of the pipeline that transformers removed.

With `-s` it prints how many of the calls are answered equally.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qa_calls import ANSWERS, all_calls, digest
from qa_models import MODELS, write_model
from record_qa_pipeline import given, outcome
from tiny_models import assert_near

from jaxbert import InputError, QuestionAnswerer

CALLS = all_calls()
RECORD = json.loads(ANSWERS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def answerers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, QuestionAnswerer]:
    place = tmp_path_factory.mktemp("models")
    return {
        name: QuestionAnswerer.from_pretrained(write_model(place / name, name)) for name in MODELS
    }


def differences(answerers):
    for call in CALLS:
        theirs=RECORD["outcomes"][call["id"]]
        call = call | {"kwargs": {**call["init"], **call["kwargs"]}}
        ours=outcome(answerers[call["model"]], call)
        try:
            if "error" in theirs: assert "error" in ours
            else: assert_near(ours, theirs)
        except AssertionError as e:
            yield call, ours, theirs

def test_x(answerers):
    n=0
    for call, ours, theirs in differences(answerers):
        n+=1
        print("DIFF", call["id"], call["model"], str(call["args"])[-150:], str(call["kwargs"])[-150:])
        print("   ours  ", str(ours)[:400]); print("   theirs", str(theirs)[:400])
    print(n, len(CALLS))
