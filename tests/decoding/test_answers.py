"""Spans of windows to answers: the oracle on demo data, merging, null scores, n-best lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import TINY, public_data

from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features
from jaxbert.data.questions import Answer, QAExample, read_qa
from jaxbert.decoding.answers import Prediction, decode_qa, merge_windows
from jaxbert.errors import InputError
from jaxbert.metrics.answer_scores import cmrc2018_scores, squad_scores, squad_v2_scores
from jaxbert.model.folders import find_model_folder
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QAOptions
from jaxbert.tasks.qa import QA

DEMO = Path(__file__).parents[2] / "jaxbert" / "demo"


@pytest.fixture(scope="module")
def tokenizer():
    try:
        return load_tokenizer(find_model_folder("minilm-l6"), vocab_size=30522)
    except InputError as error:
        pytest.skip(str(error))


def gold_outputs(features: Features, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are 1 at the gold positions and 0 elsewhere; none where the window lacks it."""
    logits = np.zeros((2, len(features), length), np.float32)
    rows = np.arange(len(features))
    for side, name in enumerate(("start_positions", "end_positions")):
        logits[side, rows, features.rows[name]] = 10.0
    return logits[0], logits[1]


def oracle(
    examples: Sequence[QAExample], tokenizer, *, version_2: bool, max_length: int = 384
) -> tuple[list[Prediction], Features]:
    """The gold positions through the device's decoder and back to text."""
    options = QAOptions(
        max_seq_length=max_length,
        doc_stride=min(128, max_length // 4),
        max_answer_length=max_length,
        n_best_size=2,
        version_2_with_negative=version_2,
    )
    features = QA(options).encode(examples, tokenizer, TINY)
    start, end = gold_outputs(features, max_length)
    position = np.arange(max_length)
    real = position < features.lengths[:, None]
    source = np.where(real, features.bounds[:-1, None] + position, 0)
    mask = np.where(real, features.tokens["context_mask"][source], False)
    reduce = jax.jit(QA(options).reduce())
    parts = []
    for a in range(0, len(features), 256):
        s = slice(a, a + 256)
        outputs = {"start_logits": start[s], "end_logits": end[s]}
        parts.append(jax.device_get(reduce(outputs, {"context_mask": mask[s]})))
    arrays = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
    return QA(options).decode(examples, features, arrays, TINY), features


@pytest.mark.parametrize("name", ["qa_en_train", "qa_en_dev", "qa_en_ask"])
def test_oracle_on_the_demo(name: str, tokenizer) -> None:
    examples = read_qa([str(DEMO / f"{name}.json")], strict=True).examples
    predictions, features = oracle(examples, tokenizer, version_2=False, max_length=96)
    assert len(features) > len(examples) or name == "qa_en_ask"  # several windows were merged
    texts = {e.id: p.answer.text for e, p in zip(examples, predictions, strict=True)}
    assert (
        squad_scores(texts, {e.id: [a.text for a in e.answers] for e in examples})["exact_match"]
        == 100.0
    )
    for example, prediction in zip(examples, predictions, strict=True):
        answer = prediction.answer
        assert example.context[answer.start : answer.end] == answer.text


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("squad_v1.1_dev", "squad"),
        ("squad_v2.0_dev", "squad_v2"),
        ("cmrc2018_dev", "cmrc2018"),
        pytest.param("squad_v1.1_train", "squad", marks=pytest.mark.slow),
        pytest.param("squad_v2.0_train", "squad_v2", marks=pytest.mark.slow),
        pytest.param("cmrc2018_train", "cmrc2018", marks=pytest.mark.slow),
    ],
)
def test_oracle_on_public_data(name: str, metric: str, tokenizer) -> None:
    path = public_data(f"{name}.json")
    examples = read_qa([str(path)]).examples
    version_2 = metric == "squad_v2"
    predictions, features = oracle(examples, tokenizer, version_2=version_2)
    fits = set(features.example[features.rows["end_positions"] > 0].tolist())
    kept = [
        (e, p)
        for n, (e, p) in enumerate(zip(examples, predictions, strict=True))
        if n in fits or not e.answers
    ]
    # An answer that cuts a token in two cannot be given back; nothing else may be wrong.
    whole = [(e, p) for e, p in kept if not cuts_a_token(e, p)]
    assert len(whole) > 0.98 * len(examples)
    texts = {e.id: p.answer.text for e, p in whole}
    references = {e.id: [a.text for a in e.answers] for e, _ in whole}
    if version_2:
        scores = squad_v2_scores(texts, references)
    else:
        score = cmrc2018_scores if metric == "cmrc2018" else squad_scores
        scores = score(texts, references)
    assert scores["exact_match"] == 100.0


def cuts_a_token(example: QAExample, prediction: Prediction) -> bool:
    """Whether the gold answer begins or ends inside a token: the decoded text holds it and more."""
    if not example.answers:
        return False
    gold = next(a for a in example.answers if a.start is not None)
    answer = prediction.answer
    end = gold.start + len(gold.text)
    holds = answer.start <= gold.start and end <= answer.end
    extra = example.context[answer.start : gold.start] + example.context[end : answer.end]
    return holds and extra != "" and not any(c.isspace() for c in extra)


CONTEXT = "Ada met Bob. Then Ada left at 25°C."
EXAMPLE = QAExample("1", "who?", CONTEXT, (Answer("Ada", 0),))


def merged(spans: list[tuple[int, int, float]], null: float = -5.0, **options) -> Prediction:
    options = {"n_best_size": 3, "version_2": False} | options
    return merge_windows(EXAMPLE, spans, null, **options)


def test_the_same_characters_from_two_windows_come_once_with_the_best_score() -> None:
    prediction = merged([(0, 3, 1.0), (8, 11, 2.0), (0, 3, 4.0)])
    assert [(c.text, c.score) for c in prediction.nbest] == [("Ada", 4.0), ("Bob", 2.0)]


def test_the_same_text_at_another_place_is_given_once_at_its_best() -> None:
    prediction = merged([(0, 3, 1.0), (18, 21, 2.0)])
    assert [(c.text, c.start) for c in prediction.nbest] == [("Ada", 18)]


def test_probabilities_are_the_softmax_of_the_list() -> None:
    prediction = merged([(0, 3, 1.0), (8, 11, 3.0), (30, 34, 0.0), (18, 21, -1.0)])
    scores = np.array([3.0, 1.0, 0.0])
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose([c.probability for c in prediction.nbest], expected, rtol=1e-12)


def test_the_answer_is_the_source_text() -> None:
    assert merged([(30, 34, 1.0)]).answer.text == "25°C"


@pytest.mark.parametrize(
    ("null", "threshold", "text"), [(1.0, 0.0, "Ada"), (3.0, 0.0, ""), (3.0, 2.0, "Ada")]
)
def test_the_threshold_decides_between_the_span_and_no_answer(
    null: float, threshold: float, text: str
) -> None:
    prediction = merged([(0, 3, 2.0)], null, version_2=True, null_threshold=threshold)
    assert prediction.answer.text == text
    assert prediction.null_odds == pytest.approx(null - 2.0)
    assert sorted(c.text for c in prediction.nbest) == ["", "Ada"]


def test_the_accents_of_the_last_letter_belong_to_the_answer() -> None:
    example = QAExample("1", "who?", "Zoe\u0308 left")
    prediction = merge_windows(example, [(0, 3, 1.0)], 0.0, n_best_size=1, version_2=False)
    assert prediction.answer.text == "Zoe\u0308"


def test_no_span_at_all_gives_the_empty_answer() -> None:
    for version_2 in (False, True):
        prediction = merged([], version_2=version_2)
        assert prediction.answer.text == ""
        assert prediction.answer.probability == 1.0


def test_an_empty_span_of_characters_is_no_answer() -> None:
    assert [c.text for c in merged([(5, 5, 9.0), (0, 3, 1.0)]).nbest] == ["Ada"]


def test_empty_paragraph_and_very_long_question(tokenizer) -> None:
    examples = [
        QAExample("empty", "who?", ""),
        dataclasses.replace(EXAMPLE, id="long", question="who " * 5000),
    ]
    predictions, features = oracle(examples, tokenizer, version_2=False, max_length=384)
    assert predictions[0].answer.text == ""
    assert predictions[1].answer.text == "Ada"
    assert features.lengths.max() <= 384
    assert "1 questions cut" in " ".join(features.notes)


def test_encode_refuses_a_stride_without_room(tokenizer) -> None:
    with pytest.raises(InputError, match="--doc_stride"):
        encode_qa([EXAMPLE], tokenizer, max_length=64, stride=128)


def test_no_two_entries_say_the_same_and_none_says_nothing() -> None:
    example = QAExample("1", "?", "The cat. a Cat \u200b dog , an")
    context = example.context
    places = ["The cat", "cat", "Cat", "cat.", " \u200b ", "dog", "The", ",", "an"]
    spans = [
        (context.index(text), context.index(text) + len(text), 9.0 - number)
        for number, text in enumerate(places)
    ]
    found = merge_windows(example, spans, 0.0, n_best_size=20, version_2=False)
    assert [c.text for c in found.nbest] == ["The cat", "dog", "The"]
    assert sum(c.probability for c in found.nbest) == pytest.approx(1)
    nothing = merge_windows(example, spans[4:5], 0.5, n_best_size=20, version_2=True)
    assert (nothing.answer.text, nothing.answer.start, nothing.answer.end) == ("", 0, 0)


@pytest.mark.parametrize("threshold", [-2.0, 0.0, 3.5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_answer_is_the_most_probable_entry(threshold: float, temperature: float) -> None:
    example = QAExample("1", "?", "one two three")
    for null in (-4.0, 0.0, 2.0, 6.0):
        found = merge_windows(
            example,
            [(0, 3, 1.0), (4, 7, 0.5), (8, 13, -1.0)],
            null,
            n_best_size=20,
            version_2=True,
            null_threshold=threshold,
            temperature=temperature,
        )
        assert found.null_odds == null - 1.0
        assert (found.answer.text == "") == (null - 1.0 > threshold)
        assert found.answer.probability == max(c.probability for c in found.nbest)
        if not found.answer.text:
            continue
        scores = np.array([1.0, 0.5, -1.0, null - threshold]) / temperature
        wanted = np.exp(scores[0]) / np.exp(scores).sum()
        assert found.answer.probability == pytest.approx(wanted)


def one_by_one(examples: list, features: Features, outputs: dict, **options) -> list[Prediction]:
    """decode_qa as a loop over questions and their windows."""
    predictions = []
    for number, example in enumerate(examples):
        spans, null = [], []
        for window in np.flatnonzero(features.example == number):
            null.append(outputs["null_score"][window])
            offsets = features.host["offsets"][features.bounds[window] :]
            for i, j, score in zip(
                *(outputs[name][window] for name in ("start", "end", "score")), strict=True
            ):
                if i >= 0:
                    spans.append((int(offsets[i, 0]), int(offsets[j, 1]), float(score)))
        lowest = float(np.min(np.array(null, np.float32)))
        predictions.append(merge_windows(example, spans, lowest, **options))
    return predictions


@pytest.mark.parametrize("seed", range(30))
def test_all_questions_at_once_are_decoded_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    questions, tokens, k = int(rng.integers(1, 6)), 12, int(rng.integers(1, 8))
    # Each question has a window, some have more; those of a question need not lie together.
    example = rng.permutation(np.r_[np.arange(questions), rng.integers(0, questions, 4)])
    windows = len(example)
    words = [f"w{n}" if n % 5 else "the" for n in range(tokens * windows)]
    starts = np.cumsum([0, *(len(w) + 1 for w in words[:-1])])
    ends = starts + [len(w) for w in words]
    examples = [QAExample(str(n), "q?", " ".join(words)) for n in range(questions)]
    features = Features(
        bounds=np.arange(windows + 1) * tokens,
        tokens={},
        rows={},
        example=example.astype(np.int32),
        host={"offsets": np.stack([starts, ends], 1).astype(np.int32)},
    )
    start = rng.integers(0, tokens, (windows, k)).astype(np.int32)
    end = np.minimum(start + rng.integers(0, 4, start.shape), tokens - 1).astype(np.int32)
    missing = rng.random(start.shape) < 0.3
    missing[example == 0] = True  # a question without any span
    start[missing] = end[missing] = -1
    score = np.where(missing, -np.inf, rng.integers(-3, 4, start.shape)).astype(np.float32)
    null = rng.normal(size=windows).astype(np.float32)
    null[rng.random(windows) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
    outputs = {"start": start, "end": end, "score": score, "null_score": null}
    for version_2 in (False, True):
        options = {"n_best_size": 3, "version_2": version_2}
        found = decode_qa(examples, features, outputs, **options)
        assert repr(found) == repr(one_by_one(examples, features, outputs, **options))
