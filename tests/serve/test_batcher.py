"""The thread that has the models: what it computes together, what fails alone, when it is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import ClassVar, NoReturn

import pytest

pytest.importorskip("fastapi", reason='needs pip install "jaxbert[serve]"')

from jaxbert.errors import InputError
from jaxbert.serve.batcher import Batcher, QueueFull, answering
from jaxbert.serve.served_models import Field, ServedModel
from jaxbert.serve.wire import Answer, Ask, Number


class Lengths(ServedModel):
    """Answers with the length of the text, while `goes` is set; notes what came together."""

    task = "lengths"
    title = "Lengths"
    fields = (Field("text", "Text", 1),)
    examples: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, name: str) -> None:
        self.name, self.place = name, name
        self.seen: list[list[str]] = []
        self.goes, self.begun = threading.Event(), threading.Event()
        self.goes.set()

    def _open(self, place: str, rows: int) -> NoReturn:
        raise NotImplementedError  # there is no folder

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        texts = [ask.text or "" for ask in asks]
        self.seen.append(texts)
        self.begun.set()
        assert self.goes.wait(20)
        if "refused" in texts:
            raise InputError("refused is no text")
        if "bug" in texts:
            raise ZeroDivisionError
        return [Number(model=self.name, label="n", score=len(t), cut=False) for t in texts]

    def warm_up(self) -> Iterator[tuple[int, int]]:
        yield 1, 1


@pytest.fixture
def models() -> Mapping[str, Lengths]:
    return {"a": Lengths("a"), "b": Lengths("b")}


def held(batcher: Batcher, model: Lengths) -> Future[Answer]:
    """A request that is being computed until model.goes is set; others wait behind it."""
    model.goes.clear()
    first = batcher.put(model.name, Ask(text="first"))
    assert model.begun.wait(20)
    return first


def score(waiting: Future[Answer]) -> float:
    answer = waiting.result(20)
    assert isinstance(answer, Number)
    return answer.score


def test_what_waits_is_computed_together_and_each_gets_its_own(models: Mapping[str, Lengths]):
    a, b = models["a"], models["b"]
    rows: list[int] = []
    with answering(Batcher(models, max_queue=99, max_batch=4, batches=rows.append)) as batcher:
        first = held(batcher, a)
        others = [batcher.put("ab"[n % 2], Ask(text="x" * n)) for n in range(12)]
        a.goes.set()
        assert [score(each) for each in others] == list(range(12))
        assert score(first) == 5
    assert a.seen == [["first"], ["", "xx", "xxxx", "x" * 6], ["x" * 8, "x" * 10]]
    assert b.seen == [["x", "xxx", "xxxxx", "x" * 7], ["x" * 9, "x" * 11]]
    assert sorted(rows) == [1, 2, 2, 4, 4]


def test_long_texts_are_not_computed_with_others(models: Mapping[str, Lengths]):
    with answering(Batcher(models, max_queue=99, max_batch=9)) as batcher:
        held(batcher, models["a"])
        texts = ["s", "x" * 32_768, "t", "u"]
        others = [batcher.put("a", Ask(text=text)) for text in texts]
        models["a"].goes.set()
        assert [score(each) for each in others] == [1, 32_768, 1, 1]
    assert models["a"].seen[1:] == [["s"], [texts[1]], ["t", "u"]]


def test_what_cannot_be_answered_fails_alone(models: Mapping[str, Lengths]):
    with answering(Batcher(models, max_queue=99, max_batch=9)) as batcher:
        held(batcher, models["a"])
        good, bad, other = (batcher.put("a", Ask(text=t)) for t in ("xx", "refused", "xxx"))
        models["a"].goes.set()
        assert (score(good), score(other)) == (2, 3)
        with pytest.raises(InputError, match="refused is no text"):
            bad.result(20)
        with pytest.raises(ZeroDivisionError):
            batcher.put("a", Ask(text="bug")).result(20)
        assert score(batcher.put("a", Ask(text="goes on"))) == 7


def test_a_full_queue_takes_no_more_and_what_is_given_up_is_not_computed(
    models: Mapping[str, Lengths],
):
    with answering(Batcher(models, max_queue=2, max_batch=9)) as batcher:
        held(batcher, models["a"])
        kept, given_up = (batcher.put("a", Ask(text=t)) for t in ("kept", "given up"))
        assert batcher.waiting == 2
        with pytest.raises(QueueFull):
            batcher.put("a", Ask(text="too many"))
        assert given_up.cancel()
        models["a"].goes.set()
        assert score(kept) == 4
    assert models["a"].seen == [["first"], ["kept"]]


def test_at_the_end_what_waits_is_answered(models: Mapping[str, Lengths]):
    batcher = Batcher(models, max_queue=99, max_batch=2)
    with answering(batcher):
        first = held(batcher, models["a"])
        others = [batcher.put("a", Ask(text="x" * n)) for n in range(5)]
        threading.Timer(0.1, models["a"].goes.set).start()
    assert batcher.status == "stopping"
    assert [each.done() for each in (first, *others)] == [True] * 6
    assert [score(each) for each in others] == [0, 1, 2, 3, 4]


def test_models_that_cannot_be_compiled_end_it(models: Mapping[str, Lengths]):
    def fail() -> Iterator[tuple[int, int]]:
        raise InputError("too large")
        yield

    models["b"].warm_up = fail  # type: ignore[method-assign]
    batcher = Batcher(models, max_queue=9, max_batch=2)
    with answering(batcher):
        assert isinstance(batcher.failure, InputError)
    assert batcher.status == "stopping"
