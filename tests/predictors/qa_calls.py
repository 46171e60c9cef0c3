"""The calls that transformers' pipeline has answered, and that QuestionAnswerer is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
ANSWERS = _HERE / "qa_pipeline_answers.json"

_SHORT = "Ada met Zoe in Paris. Then Ada left at 25°C, by the scaly-foot train \U0001f682."
_QUESTION = "Who met Zoe ?"
_LONG = (
    "London is the capital of England; it stands on the river Thames. Ada was born there in 1815, "
    "and worked with Mr. Babbage on his engine (never built). "
) * 9 + "In the end, she was buried at Hucknall beside her father."
_CHINESE = (
    "北京是中国的首都，人口2189万。上海在东边，人口2487万！什么时候？"
    "国語の教科書に挿し絵が用いられている。"
)
_TEXTS = {
    "emoji": "\U0001f917 is \U0001f468\u200d\U0001f469\u200d\U0001f467 a family; "
    "\U0001f917\U0001f917 too.",
    "combining": "Zoe\u0308 met Rene\u0301 at the cafe\u0301 in Co\u0302te d'Azur.",
    "composed": "Zoë met René at the café in Côte d'Azur.",
    "currency": "It cost $1,200.50 (€1.100,20) in 2016-2018, i.e. 3.5% less.",
    "mixed": "Ada visited 北京 in 2019; the 国語 book was at A4-size.",
    "spaces": "  Ada \t met\n\n Zoe   in\u00a0Paris\u3000. ",
    "zero width": "Ada\u200bmet\u200dZoe in\ufeff Paris.",
    "controls": "Ada\x00 met\x07 Zoe in Paris.",
    "one": "Paris",
    "one letter": "a",
    "one sign": ".",
    "repeated": "Paris Paris paris PARIS Paris, Paris",
    "unknown": "Привет мир, это Париж. שלום",
    "long word": "Donaudampfschifffahrtsgesellschaftskapitaen was founded in Paris.",
    "endless word": "z" * 130 + " in Paris",
    "special": "Ada [MASK] met [UNK] Zoe.",
    "upper": "HUGGINGFACE WAS FOUNDED IN PARIS.",
    "turkish": "İstanbul was founded at the river; ISTANBUL, ıstanbul.",
    "lines": "First line.\nSecond line.\r\nThird line.",
    "html": "<p>Ada &amp; Zoe</p> met in <b>Paris</b>.",
    "url": "See https://www.example.org/a_b?c=d#e or mail ada@example.org.",
}


def all_calls() -> list[dict[str, Any]]:
    """Of each: id, model (see qa_models), init, args, kwargs; JSON, with generators as in
    extract_qa_calls."""
    taken = json.loads((_HERE / "qa_pipeline_calls.json").read_text(encoding="utf-8"))["calls"]
    calls = []
    for number, call in enumerate(taken):
        model = "chinese" if "japanese" in call["test"] else "english"
        more = {"id": f"{number} {call['test']}", "model": model}
        calls.append(more | {name: call[name] for name in ("init", "args", "kwargs")})
    own = [
        {"id": f"own {number}", "init": {}, "args": [], "kwargs": {}, **call}
        for number, call in enumerate(_own())
    ]
    return calls + own


def digest(calls: list[dict[str, Any]]) -> str:
    """SHA-256 of calls."""
    return hashlib.sha256(json.dumps(calls, sort_keys=True).encode()).hexdigest()


def _own() -> Iterator[dict[str, Any]]:
    for text in _TEXTS.values():
        for model in ("english", "cased"):
            yield _ask(model, _QUESTION, text)
        yield _ask("english", _QUESTION, text, top_k=3, align_to_words=False)
    yield from _options()
    yield from _windows()
    yield from _forms()
    yield from _refused()


def _ask(model: str, question: object, context: object, **more: object) -> dict[str, Any]:
    return {"model": model, "kwargs": {"question": question, "context": context, **more}}


def _options() -> Iterator[dict[str, Any]]:
    for model, question, context in (
        ("english", _QUESTION, _SHORT),
        ("cased", "Where did Ada leave?", _LONG),
        ("chinese", "首都是哪里？", _CHINESE),
        ("short", "Who met?", _SHORT),
    ):
        for top_k in (1, 3, 20):
            for aligned in (True, False):
                yield _ask(model, question, context, top_k=top_k, align_to_words=aligned)
        yield _ask(model, question, context, topk=3)
        yield _ask(model, question, context, topk=3, top_k=2)
        for longest in (1, 2, 5, 50):
            yield _ask(model, question, context, max_answer_len=longest)
        yield _ask(model, question, context, max_answer_len=1, top_k=5)
        for top_k in (1, 2, 5):
            yield _ask(model, question, context, handle_impossible_answer=True, top_k=top_k)
        yield _ask(model, question, context, handle_impossible_answer=False)
        for padding in ("max_length", "longest", "do_not_pad", True, False):
            yield _ask(model, question, context, padding=padding)
        yield _ask(model, question, context, max_question_len=3)
        yield _ask(model, question, context, batch_size=3)
    for more in ({}, {"align_to_words": False}, {"handle_impossible_answer": True}):
        for context in (_SHORT, _LONG, "Paris"):  # exp() of these logits is infinite
            yield _ask("loud", _QUESTION, context, max_answer_len=50, **more)
    yield _ask("english", "Where did Ada leave?", _LONG, top_k=1000, max_answer_len=50)
    yield _ask("english", _QUESTION, _SHORT, top_k=1000)
    yield _ask("english", _QUESTION, "a b c", top_k=20)
    yield _ask("english", _QUESTION, "HuggingFace was founded in Paris, in 2016.", top_k=20)
    yield _ask("english", "Where did Ada leave?", _LONG, top_k=100, align_to_words=False)


def _windows() -> Iterator[dict[str, Any]]:
    question = "Where did Ada leave?"
    for longest, stride in ((384, 128), (384, 300), (100, 50), (64, 8), (64, 40), (30, 5), (30, 1)):
        for top_k in (1, 4):
            yield _ask(
                "cased", question, _LONG, max_seq_len=longest, doc_stride=stride, top_k=top_k
            )
    for stride in (1, 64, 200, 384):
        yield _ask("english", question, _LONG, doc_stride=stride)
    for longest in (50, 64, 100, 200, 512):
        yield _ask("english", question, _LONG, max_seq_len=longest)
        yield _ask("english", question, _LONG, max_seq_len=longest, handle_impossible_answer=True)
        yield _ask("chinese", "首都是哪里？", _CHINESE * 8, max_seq_len=longest, top_k=2)
    for longest in (20, 39):
        yield _ask("short", "Who?", _SHORT * 3, max_seq_len=longest)
    yield _ask("short", "Who?", _SHORT * 3)
    yield _ask("short", "Who?", _SHORT * 3, doc_stride=3, top_k=3)
    yield _ask("english", question, _LONG * 4, top_k=2)
    yield _ask("english", question, _LONG * 4, top_k=2, batch_size=8)
    yield _ask("english", "Who met Ada? " * 12, _LONG)
    yield _ask("english", "Who met Ada? " * 12, _SHORT, max_question_len=10)
    yield _ask(
        "english", "Who", "z" * 40 + " " + "paris" * 30, max_seq_len=30, doc_stride=4, top_k=3
    )


def _forms() -> Iterator[dict[str, Any]]:
    one = {"question": _QUESTION, "context": _SHORT}
    two = {"question": "In what river ?", "context": _LONG}
    three = {"question": "首都是哪里？", "context": _CHINESE}
    for model in ("english", "chinese"):
        for args in (
            [one],
            [[one]],
            [[one, two, three]],
            [one, two],
            [_QUESTION, _SHORT],
            [{"question": [_QUESTION, "Who?"], "context": [_SHORT, _LONG]}],
            [{"generator": [one, two, three]}],
            [{"generator": [one]}],
            [{"generator": []}],
            [[]],
            [{"generator": [{**one, "id": "a", "title": "b"}]}],
        ):
            yield {"model": model, "args": args}
        for name in ("data", "X"):
            yield {"model": model, "kwargs": {name: one}}
            yield {"model": model, "kwargs": {name: [one, two], "top_k": 2}}
        yield {"model": model, "args": [one], "kwargs": {"top_k": 3, "max_answer_len": 4}}
        yield {"model": model, "args": [[one, two, three]], "kwargs": {"batch_size": 2}}
        yield {"model": model, "args": [[one, one, one]]}
        yield {"model": model, "args": [{"generator": [one, two]}], "kwargs": {"top_k": 2}}
    yield _ask("english", [_QUESTION], _SHORT)
    yield _ask("english", [_QUESTION], [_SHORT])
    yield _ask("english", [_QUESTION, _QUESTION], _SHORT)
    yield _ask("english", [_QUESTION, "Who?"], [_SHORT, _LONG], top_k=2)
    yield _ask("english", [], [])
    yield _ask("english", [], _SHORT)
    yield _ask("english", " ", _SHORT)
    yield _ask("english", "\n", _SHORT)


def _refused() -> Iterator[dict[str, Any]]:
    """Most of them; of the others it is told in docs/pipelines.md what is different."""
    one = {"question": _QUESTION, "context": _SHORT}
    for more in (
        {"top_k": 0},
        {"top_k": -1},
        {"topk": 0},
        {"max_answer_len": 0},
        {"max_seq_len": 20, "doc_stride": 30},
        {"max_seq_len": 5},
        {"max_seq_len": 20, "doc_stride": 19},
        {"padding": "sideways"},
    ):
        yield _ask("english", _QUESTION, _SHORT, **more)
    yield _ask("english", "Who met Ada? " * 200, _SHORT)
    yield _ask("english", _QUESTION, " ")
    yield _ask("english", _QUESTION, "\n\t")
    yield _ask("english", _QUESTION, "\u200b")
    yield _ask("english", "", "")
    yield _ask("english", _QUESTION, 5)
    yield _ask("english", 5, _SHORT)
    yield _ask("english", [_QUESTION, ""], _SHORT)
    yield _ask("english", [_QUESTION, None], _SHORT)
    for args in (
        [],
        [_QUESTION],
        [[_QUESTION, _SHORT]],
        [[one, "Who?"]],
        [[one, {**one, "context": ""}]],
        [{**one, "top_k": 3}],
        [{"question": _QUESTION, "text": _SHORT}],
        [{}],
        [_QUESTION, _SHORT, _SHORT],
        [{"generator": [one, {"question": _QUESTION}]}],
    ):
        yield {"model": "english", "args": args}
    yield _ask("english", "[CLS] who met [SEP] Zoe ?", _SHORT, top_k=2)
    yield _ask("english", _QUESTION, "Ada [CLS] met [SEP] Zoe [PAD]", top_k=4)
    yield {"model": "english", "kwargs": {"question": _QUESTION}}
    yield {"model": "english", "kwargs": {"context": _SHORT}}
