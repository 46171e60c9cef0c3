"""More calls of the predictors and of the pipelines: odd texts, all keywords, wrong calls.

What differs on purpose is held here too, row by row of docs/pipelines.md.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import REPOSITORY
from differential import POSITIONS, Both, both, generator
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert import InputError, Tagger

pytestmark = pytest.mark.integration

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
        for size in (1, 3):
            yield call(inputs, batch_size=size)
        yield streamed(inputs)
        yield streamed(inputs, top_k=2, batch_size=2)
    yield streamed([])
    pair = {"text": LONG, "text_pair": "who was at the station"}
    for inputs in ([LONG, WORDS], pair):
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
        for stride in (0, 7, 200):
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
    small = {"head": "tagging", "labels": LABELS}
    return functools.cache(lambda name: both(root, **(KINDS[name][0] if name in KINDS else small)))


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
    assert counts["equal"] > 50


# --- any text ---------------------------------------------------------------------------------

PARTS = ["the", "of", " ", "Ada", "Zoë", "İ", "北", "\U0001f682", "[SEP]", "[UNK]", "##s", "25°C"]
PARTS += ["…", "\n", "\u3000", "-", "scaly", ".", "'s", "☃"]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(data=st.data())
def test_any_text_with_any_keywords(models: Callable[[str], Both], data: st.DataObject) -> None:
    """Of word groups, texts whose characters the tokenizer keeps: see the table of differences."""
    strategy = data.draw(st.sampled_from(["none", "simple", "first", "average", "max"]))
    text = st.lists(st.sampled_from(PARTS), max_size=40).map("".join)
    inputs: Any = data.draw(st.lists(text, min_size=1, max_size=3))
    keywords = {
        "aggregation_strategy": strategy,
        "ignore_labels": data.draw(st.sampled_from([["O"], [], ["LOC", "I-PER"]])),
    }
    length = None
    if strategy != "none" and data.draw(st.booleans()):
        length, keywords["stride"] = 16, data.draw(st.integers(0, 13))
    if data.draw(st.booleans()):
        inputs, keywords["is_split_into_words"] = [one.split(" ") for one in inputs], True
        keywords["delimiter"] = data.draw(st.sampled_from([None, "", " ", "+"]))
    found = models("token classification").compare(lambda: ([inputs], dict(keywords)), None, length)
    assert found == "equal"


# --- what differs on purpose --------------------------------------------------------------------

DIFFERENT: list[tuple[str, str, Call, str]] = [
    ("text classification", "a long text without truncation", call(LONG), "theirs raises"),
    ("text classification", "no text", call([]), "theirs raises"),
    ("text classification", "a tuple", call((WORDS, "the")), "theirs raises"),
    ("text classification", "top_k=0", call(WORDS, top_k=0), "ours raises: top_k is 0"),
    ("text classification", "top_k=-1", call(WORDS, top_k=-1), "ours raises: top_k is -1"),
    ("text classification", 'top_k="2"', call(WORDS, top_k="2"), "ours raises: top_k is '2'"),
    (
        "text classification",
        "return_all_scores=True",
        call(WORDS, return_all_scores=True),
        "ours raises: TextClassifier has no keyword 'return_all_scores': give top_k=None",
    ),
    (
        "text classification",
        "an unknown keyword",
        call(WORDS, wrong=1),
        "ours raises: TextClassifier has no keyword 'wrong': there are",
    ),
    (
        "text classification",
        "an unknown key of a pair",
        call({"text": WORDS, "pair": "the"}),
        "ours raises: text 0 is not a text",
    ),
    (
        "text classification",
        "lists in a pair",
        call({"text": ["a", "b"]}),
        "ours raises: text 0 is not a string",
    ),
    (
        "text classification",
        "max_length below 3",
        call(WORDS, truncation=True, max_length=2),
        "ours raises: max_length is 2: it must be at least 3",
    ),
    ("token classification", "no text", call([]), "theirs raises"),
    ("token classification", "a tuple", call((WORDS, "the")), "theirs raises"),
    ("token classification", "a long text", call(LONG), "answers differ"),
    (
        "token classification",
        "an accent that is stripped, in groups of words",
        call("which i\u0301s", aggregation_strategy="first", ignore_labels=[]),
        "answers differ",
    ),
    (
        "token classification",
        "offset_mapping of several texts",
        call(["of", "of"], offset_mapping=[[(0, 0), (0, 1), (0, 0)], [(0, 0), (0, 2), (0, 0)]]),
        "answers differ",
    ),
    (
        "token classification",
        "delimiter without is_split_into_words",
        call(WORDS, delimiter="x"),
        "ours raises: delimiter is for is_split_into_words",
    ),
    (
        "token classification",
        "a generator of words",
        streamed([["the"], ["of"]], is_split_into_words=True, ignore_labels=[]),
        "answers differ",
    ),
    ("fill-mask", "a long text without truncation", call(f"[MASK] {LONG}"), "theirs raises"),
    ("fill-mask", "no text", call([]), "theirs raises"),
    ("fill-mask", "a tuple", call(("the [MASK]", "of [MASK]")), "answers differ"),
    ("fill-mask", "a list in a list", call([["the [MASK]"]]), "ours raises: text 0 is not a"),
    ("fill-mask", "top_k=0", call("the [MASK]", top_k=0), "ours raises: top_k is 0"),
    (
        "fill-mask",
        "other keywords of the tokenizer",
        call("the [MASK]", tokenizer_kwargs={"add_special_tokens": False}),
        "ours raises: tokenizer_kwargs has 'add_special_tokens'; it takes truncation, max_length",
    ),
]


@pytest.mark.parametrize(
    ("name", "what", "one", "expected"), DIFFERENT, ids=[f"{a}: {b}" for a, b, *_ in DIFFERENT]
)
def test_what_differs_on_purpose(
    models: Callable[[str], Both], name: str, what: str, one: Call, expected: str
) -> None:
    if "accent" in what:  # of a model in small letters, which strips it
        name = "small letters"
    assert models(name).compare(one).startswith(expected)


def test_the_table_of_differences_has_every_row() -> None:
    page = (REPOSITORY / "docs" / "pipelines.md").read_text(encoding="utf-8")
    sections = {
        part.partition("\n")[0].strip().lower(): part.partition("\n")[2]
        for part in page.split("\n## ")[1:]
    }
    for name, what, *_ in DIFFERENT:
        assert f"| {what}" in sections[name], (name, what)


# --- keywords when it is opened, and answers one by one -------------------------------------------


def test_a_generator_is_read_when_answers_are_asked_for(models: Callable[[str], Both]) -> None:
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(6):
            taken.append(number)
            yield "the"

    answers = models("text classification").ours(texts(), batch_size=2)
    assert taken == []
    next(answers)
    assert taken == [0, 1]
    assert len(list(answers)) == 5
    answers = models("text classification").ours(generator(["the", "of", None]), batch_size=2)
    with pytest.raises(InputError, match="text 2 is not a text"):
        list(answers)


def test_keywords_when_it_is_opened(models: Callable[[str], Both]) -> None:
    """They hold for all calls that do not give others, and have the pipeline's list in a list."""
    text, tag, fill = (models(name) for name in KINDS)
    opened = {"top_k": 2, "function_to_apply": "sigmoid", "truncation": True}
    for inputs in (WORDS, [WORDS], PAIRS[0], LONG):
        assert text.compare(call(inputs), opened) == "equal"
        assert text.compare(call(inputs, top_k=None), opened) == "equal"
    assert text.compare(call(WORDS, function_to_apply="none"), opened) == "equal"
    opened = {"aggregation_strategy": "max", "ignore_labels": [], "stride": 20}
    for more in ({}, {"aggregation_strategy": "simple"}, {"stride": 3}, {"ignore_labels": ["O"]}):
        assert tag.compare(call(LONG, **more), opened) == "equal"
    opened = {"targets": ["the", "of"], "top_k": 1}
    for more in ({}, {"top_k": 2}, {"targets": "in"}):
        assert fill.compare(call("[MASK] is", **more), opened) == "equal"
    folder = tag.folder
    for keywords, message in (
        ({"wrong": 1}, "Tagger has no keyword 'wrong': there are aggregation_strategy, ignore"),
        ({"grouped_entities": True}, 'give aggregation_strategy="simple"'),
        ({"is_split_into_words": True}, "no keyword 'is_split_into_words'"),
    ):
        with pytest.raises(TypeError, match=message):
            Tagger.from_pretrained(folder, **keywords)
    with pytest.raises(InputError, match="batch_size is 0"):
        Tagger.from_pretrained(folder, batch_size=0)
    with pytest.raises(InputError, match="aggregation_strategy 'last'"):
        Tagger.from_pretrained(folder, aggregation_strategy="last")
