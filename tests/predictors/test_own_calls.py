"""More calls of the predictors and of the pipelines: odd texts, all keywords, wrong calls.

What differs on purpose is held here too, row by row of docs/pipelines_other.md.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from differential import POSITIONS, Both, both, generator

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-LOC")
WORDS = "who was at the station of Zoë in 北京"
TEXTS = [
    "",
    " \n",
    "\u200b\x07",
    WORDS,
    "北京是中国的首都，人口2189万。国語の教科書！",
    "\U0001f682 of \U0001f468\u200d\U0001f469\u200d\U0001f467, \U0001f917\U0001f917!",
    "Zoe\u0308 at the cafe\u0301, naïve Ångström",
    ".,;:!?…'\"«»–—()",
    "[SEP] the [CLS] of [PAD] [UNK] [MASK]",
    "one two. three four! five six? seven: eight; nine (ten)",
    "Привет мир, שלום, 한국어",
    "z" * 120 + " the end",
]
# All fit in 256 tokens; and one that does not.
LONG = "the station of Ada and Zoe, in the north. " * 40
PAIRS = [{"text": a, "text_pair": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]

Arguments = tuple[list[Any], dict[str, Any]]
Call = Callable[[], Arguments]


def call(*args: Any, **kwargs: Any) -> Call:
    return lambda: (list(args), kwargs)


def streamed(items: list[Any], **kwargs: Any) -> Call:
    return lambda: ([generator(items)], kwargs)


def text_calls() -> Iterator[Call]:
    for text in TEXTS:
        yield call(text)
        yield call(text, top_k=None)
    for pair in PAIRS:
        yield call(pair)
    for inputs in (TEXTS, PAIRS, [*TEXTS[:3], *PAIRS[:3]], TEXTS[:1]):
        for more in ({}, {"top_k": 1}, {"top_k": 2}, {"top_k": 99}, {"top_k": None}):
            yield call(inputs, **more)
        for function in ("sigmoid", "softmax", "none", "Sigmoid"):
            yield call(inputs, function_to_apply=function, top_k=None)
        for size in (1, 2, 3, 50):
            yield call(inputs, batch_size=size)
        yield streamed(inputs)
        yield streamed(inputs, top_k=2, batch_size=2)
    yield streamed([])
    pair = {"text": LONG, "text_pair": "who was at the station"}
    for inputs in (LONG, [LONG, WORDS], pair, {"text": WORDS, "text_pair": LONG}):
        yield call(inputs, truncation=True)
        yield call(inputs, truncation=True, max_length=20, top_k=None)
        yield call(inputs, truncation="longest_first", max_length=31)
        yield call(inputs, max_length=20)
        yield call(inputs, truncation=True, padding="max_length", max_length=40)
        yield call(inputs, truncation="only_first", max_length=40)
    yield call(pair, truncation="only_second", max_length=40)
    yield call({"text": WORDS, "text_pair": LONG}, truncation="only_second", max_length=40)
    for padding in (True, False, "longest", "max_length", "do_not_pad"):
        yield call(TEXTS, padding=padding)
    yield call(WORDS, truncation=False)
    yield call(LONG, truncation=False)
    yield call(LONG, truncation="do_not_truncate")
    yield call({"text": WORDS, "text_pair": None})
    yield call([[[WORDS, "the end"]]])
    for wrong in (None, 5, [None], [5], [[WORDS]], [[WORDS, "a"]], {"text": 5}, [b"the"], {}):
        yield call(wrong)
    yield call({"text_pair": "the"})
    for name in ("truncation", "padding"):
        yield call(WORDS, **{name: "wrong"})
    for wrong in ("wrong", "default", 5):
        yield call(WORDS, function_to_apply=wrong)
    yield call([WORDS], batch_size=0)


def tag_calls() -> Iterator[Call]:
    lists = [text.split() for text in TEXTS if text.split()]
    for text in TEXTS:
        yield call(text)
        yield call(text, ignore_labels=[])
    plain = [text for text in TEXTS if text.isascii() or text == WORDS]
    for strategy in ("none", "simple", "first", "average", "max", "Simple", "MAX"):
        inputs = TEXTS if strategy.lower() in ("none", "simple") else plain
        yield call(inputs, aggregation_strategy=strategy)
        yield call(inputs, aggregation_strategy=strategy, ignore_labels=[])
        yield call(inputs[3], aggregation_strategy=strategy, ignore_labels=["O", "PER", "B-PER"])
        yield call(inputs[:1], aggregation_strategy=strategy, batch_size=3)
        yield streamed(inputs, aggregation_strategy=strategy, batch_size=3)
        words = [text.split() for text in inputs if text.split()]
        yield call(words, aggregation_strategy=strategy, is_split_into_words=True)
    for strategy in ("simple", "first", "average", "max"):
        for stride in (0, 1, 7, 100, 200):
            yield call(LONG, aggregation_strategy=strategy, stride=stride)
        yield call([LONG, *plain], aggregation_strategy=strategy, stride=50, batch_size=2)
        yield call(
            [LONG.split(), ["the"]],
            aggregation_strategy=strategy,
            stride=50,
            is_split_into_words=True,
        )
    yield call(LONG, stride=20)
    yield call(WORDS.split(), is_split_into_words=True)
    yield call(["the of", "Zoë, in", "", "\u200b"], is_split_into_words=True)
    yield call([[]], is_split_into_words=True)
    for delimiter in ("", " ", "--", "\n"):
        yield call(lists, is_split_into_words=True, delimiter=delimiter, ignore_labels=[])
    yield call("the of", offset_mapping=[(0, 0), (4, 6), (0, 3), (0, 0)], ignore_labels=[])
    yield call(["the of"], offset_mapping=[[(0, 0), (4, 6), (0, 3), (0, 0)]], ignore_labels=[])
    yield call("\u2603 of", offset_mapping=[(0, 0), (0, 4), (0, 3), (0, 0)], ignore_labels=[])
    yield streamed([])
    for wrong in (None, 5, [None], [WORDS, 5], [["the"]], {"text": WORDS}, b"the"):
        yield call(wrong)
    for wrong in (WORDS, [["the", 5]], ["the", ["of"]], None, 5):
        yield call(wrong, is_split_into_words=True)
    yield call(WORDS, aggregation_strategy="wrong")
    yield call(WORDS, aggregation_strategy="none", stride=4)
    yield call(WORDS, aggregation_strategy="first", stride=POSITIONS)
    yield call(WORDS, aggregation_strategy="first", stride=-1)
    yield call(WORDS, ignore_labels="O")
    yield call([WORDS], batch_size=0)
    yield call(WORDS, grouped_entities=True)
    yield call(WORDS, ignore_subwords=True)
    yield call(WORDS, wrong=1)
    yield call("the of", offset_mapping=[(0, 0), (0, 1)])
    yield call(["the", "of"], offset_mapping=[[(0, 0), (0, 1), (0, 0)]])


def fill_calls() -> Iterator[Call]:
    texts = [f"{text} [MASK]" for text in TEXTS] + ["[MASK]", "[MASK] the[MASK]of [MASK]"]
    for text in texts:
        yield call(text)
    for more in ({"top_k": 1}, {"top_k": 9}, {"targets": "the"}, {"targets": ["of", "the", "of"]}):
        yield call(texts, **more)
        yield call(texts[3], **more)
        yield call(texts[-1], **more)
        yield call(texts[:1], **more)
        yield call(texts, batch_size=3, **more)
        yield streamed(texts, batch_size=3, **more)
    yield call(texts[3], targets=("the", "of"), top_k=1)
    for targets in (["station", "Zoë"], ["", "the"], ["北京", "\u2603"], ["a b"], "[MASK]"):
        yield call(texts[3], targets=targets)
        yield call(texts[-1], targets=targets, top_k=1)
    long = f"the [MASK] of {LONG}"
    for more in ({}, {"max_length": 20}, {"max_length": 20, "padding": "max_length"}):
        yield call(long, tokenizer_kwargs={"truncation": True, **more})
        yield call([long, texts[3]], tokenizer_kwargs={"truncation": True, **more})
        yield call(f"{long} [MASK]", tokenizer_kwargs={"truncation": True, **more})
    yield call(texts[3], tokenizer_kwargs={"padding": "max_length"})
    yield call(texts[3], tokenizer_kwargs={"max_length": 200})
    yield call(f"{LONG} [MASK]", tokenizer_kwargs={"truncation": True})
    yield call(f"{LONG} [MASK]")
    yield streamed([])
    for wrong in (None, 5, [None], [WORDS], WORDS, {"text": "[MASK]"}, [5], "[mask]"):
        yield call(wrong)
    for targets in ([], "", [""], 5, [5], [None]):
        yield call(texts[3], targets=targets)
    yield call(texts[3], top_k="2")
    yield call(texts[3], top_k=-1)
    yield call(texts[3], top_k=10**6)
    yield call(texts[3], tokenizer_kwargs={"truncation": "wrong"})
    yield call(texts[3], truncation=True)
    yield call(texts[3], wrong=1)
    yield call([texts[3]], batch_size=0)


KINDS: dict[str, tuple[dict[str, Any], Callable[[], Iterator[Call]]]] = {
    "text classification": (
        {"head": "classification", "labels": ("no", "maybe", "yes")},
        text_calls,
    ),
    "token classification": ({"head": "tagging", "labels": LABELS, "cased": True}, tag_calls),
    "fill-mask": ({"head": "mlm"}, fill_calls),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    root = tmp_path_factory.mktemp("models")
    return functools.cache(lambda name: both(root, **KINDS[name][0]))


@pytest.mark.parametrize("name", list(KINDS))
def test_answers_are_those_of_the_pipeline(
    models: Callable[[str], Both], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = list(KINDS[name][1]())
    found = [(models(name).compare(one), one) for one in calls]
    counts = collections.Counter(result.partition(":")[0] for result, _ in found)
    with capsys.disabled():
        print(f"\n{name}: {len(calls)} own calls, {dict(counts)}")
    different = [(result, one()) for result, one in found if result not in ("equal", "both raise")]
    assert not different, different[:3]
    assert counts["equal"] > 60
