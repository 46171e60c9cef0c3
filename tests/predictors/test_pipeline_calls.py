"""Every call in transformers' own tests of the pipelines, of the pipeline and of the predictor.

pipeline_calls.py took the calls out of the test files, pipeline_calls.json holds them. The models
that they name are replaced by tiny ones of several kinds; on each all calls are compared:
structure, keys, types, order and offsets are equal, scores within 1e-5, and where the pipeline
raises the predictor does.
"""

from __future__ import annotations

import ast
import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from differential import CONLL, Both, attempt, both, outcome, with_mask
from pipeline_calls import CALLS, Walk, as_json, from_json

from jaxbert.decoding.tags import Token, group_entities

pytestmark = pytest.mark.integration

RECORD = json.loads(CALLS.read_text(encoding="utf-8"))
KINDS: dict[str, list[dict[str, Any]]] = {
    "text_classification": [
        {"head": "classification", "labels": ("one",)},
        {"head": "classification", "labels": ("LABEL_0", "LABEL_1")},
        {"head": "classification", "labels": ("no", "maybe", "yes"), "cased": True},
        {
            "head": "classification",
            "labels": tuple("abcde"),
            "problem_type": "multi_label_classification",
        },
    ],
    "token_classification": [
        {"head": "tagging", "labels": CONLL},
        {"head": "tagging", "labels": CONLL, "cased": True},
    ],
    "fill_mask": [{"head": "mlm"}, {"head": "mlm", "cased": True}],
}
# What differs on purpose, by the calls that it is seen in; docs/pipelines.md has the reasons.
ON_PURPOSE = {
    "text_classification": {5: "return_all_scores=True", 6: "return_all_scores=True"},
    "token_classification": {38: "gather_pre_entities", 39: "gather_pre_entities"},
    "fill_mask": {},
}


def compare(models: Both, call: dict[str, Any], root: Path, kind: dict[str, Any]) -> str:
    settings, method = call.get("settings", {}), call.get("method")
    args, kwargs = with_mask(from_json(call["args"])), with_mask(from_json(call.get("kwargs", {})))
    if method == "aggregate":
        return aggregate(models, settings.get("id2label"), *args)
    if method is not None:
        return f"answers differ: {method} is internal and has no counterpart"
    if "problem_type" in settings:
        models = both(root, **{**kind, "problem_type": settings["problem_type"]})
    opened, length = call.get("opened", {}), settings.get("model_max_length")
    return models.compare(lambda: (args, kwargs), opened, length)


def aggregate(models: Both, names: dict[str, str] | None, entities: list[Any], how: Any) -> str:
    """The pipeline's own step from scores of tokens to entities, and group_entities."""
    from transformers.pipelines.token_classification import AggregationStrategy

    labels = CONLL if names is None else tuple(names.values())
    config, pipeline = models.theirs.model.config, models.theirs
    before, config.id2label = config.id2label, dict(enumerate(labels))
    theirs = attempt(lambda: pipeline.aggregate(entities, AggregationStrategy(how)))
    config.id2label = before
    tokens = [
        Token(e["start"], e["end"], e["word"], e["index"], not e["is_subword"], e["scores"])
        for e in entities
    ]
    join = pipeline.tokenizer.convert_tokens_to_string
    ours = attempt(lambda: group_entities(tokens, how, labels=labels, join=join, ignore=()))
    return outcome(ours, theirs)


@pytest.mark.parametrize("name", list(KINDS))
def test_answers_are_those_of_the_pipeline(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = RECORD["calls"][name]
    found: list[list[str]] = []
    for kind in KINDS[name]:
        models = both(tmp_path, **kind)
        found.append([compare(models, call, tmp_path, kind) for call in calls])
    worst = [
        next((one for one in ones if one not in ("equal", "both raise")), ones[0])
        for ones in zip(*found, strict=True)
    ]
    counts = collections.Counter(result.partition(":")[0] for result in worst)
    answered = len(calls) - counts["both raise"] - counts["theirs raises"]
    with capsys.disabled():
        print(
            f"\n{name}, transformers {RECORD['version']}, {len(calls)} calls on {len(found)} "
            f"models: "
            f"{counts['equal']} of {answered} that the pipeline answers are answered equally, "
            f"{counts['both raise']} of {len(calls) - answered} that it refuses are refused"
        )
    different = {n: r for n, r in enumerate(worst) if r not in ("equal", "both raise")}
    assert different.keys() == ON_PURPOSE[name].keys(), different


def test_95_of_100_and_none_is_left_out() -> None:
    numbers = {name: len(calls) for name, calls in RECORD["calls"].items()}
    assert numbers == RECORD["number"]
    assert numbers == {"text_classification": 21, "token_classification": 60, "fill_mask": 27}
    left = sum(len(calls) for calls in ON_PURPOSE.values())
    assert left <= 0.05 * sum(numbers.values())


def test_the_calls_are_found_wherever_they_are() -> None:
    source = """
class Tests(unittest.TestCase):
    def run_pipeline_test(self, tagger, _):
        text = "one" + " two"
        self.assertEqual(simplify(tagger(text, top_k=1)), [ANY(str)])
        if tagger.unknown:
            with self.assertRaises(ValueError):
                tagger([None])

    def test_large(self):
        model = AutoModelForTokenClassification.from_pretrained("large")
        ner = pipeline("ner", model=model, device=torch_device, stride=3)
        ner.tokenizer.model_max_length = 10
        self.run_large(ner)
        ner.aggregate([{"scores": np.array([1, 0])}], AggregationStrategy.MAX)

    def run_large(self, ner):
        words = ["a", "b"]
        outputs = ner([words, words], is_split_into_words=True)
        outputs = ner([out["word"] for out in outputs])
"""
    ast.parse(source)
    calls = Walk(None, lambda opened, *args, **kwargs: [{"word": "c"}]).file(source)
    length = {"model_max_length": 10}
    assert as_json(calls) == [
        {"test": "run_pipeline_test", "args": ["one two"], "kwargs": {"top_k": 1}},
        {"test": "run_pipeline_test", "args": [[None]]},
        {
            "test": "test_large",
            "opened": {"stride": 3},
            "settings": length,
            "method": "aggregate",
            "args": [[{"scores": {"array": [1, 0]}}], "max"],
        },
        {
            "test": "run_large",
            "opened": {"stride": 3},
            "settings": length,
            "args": [[["a", "b"], ["a", "b"]]],
            "kwargs": {"is_split_into_words": True},
        },
        {"test": "run_large", "opened": {"stride": 3}, "settings": length, "args": [["c"]]},
    ]
    np.testing.assert_equal(from_json(as_json(calls)), calls)
