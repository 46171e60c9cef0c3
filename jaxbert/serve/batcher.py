"""Batcher: one thread that has the models, and computes together what waits for it."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Literal, NamedTuple

from jaxbert.errors import InputError
from jaxbert.serve.served_models import ServedModel
from jaxbert.serve.wire import Answer, Ask

_WAIT = 0.003  # seconds that a batch that is not full waits for more
# Of a batch with several requests, so that one long text does not keep many short ones waiting.
_CHARACTERS = 32_768

logger = logging.getLogger("jaxbert")

Status = Literal["loading", "ready", "stopping"]


class QueueFull(Exception):  # noqa: N818 - no fault
    """As many requests as may wait are waiting."""


class _Waiting(NamedTuple):
    model: str
    ask: Ask
    characters: int
    answer: Future[Answer]


class Batcher:
    """Requests are answered in the order in which they come, several of a model at once.

    An answer does not depend on what it is computed with, but for rounding. A request that cannot
    be answered fails alone.

    Attributes:
        status: loading until start() has compiled all shapes.
        failure: what ended the thread, if anything did.
        batches: called with the rows of each batch.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        *,
        max_queue: int,
        max_batch: int,
        batches: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.status: Status = "loading"
        self.failure: BaseException | None = None
        self.batches = batches
        self._models, self._max_queue, self._max_batch = models, max_queue, max_batch
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, *, when_ready: Callable[[], None], when_failed: Callable[[], None]) -> None:
        """Compile, and then answer, in a thread. The callbacks are called in it."""

        def work() -> None:
            try:
                for model in self._models.values():
                    for _ in model.warm_up():
                        if self.status == "stopping":
                            return
                with self._changed:
                    if self.status == "stopping":
                        return
                    self.status = "ready"
                when_ready()
                self._work()
            except BaseException as error:
                self.failure = error
                when_failed()

        self._thread = threading.Thread(target=work, name="batcher")
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, and end the thread."""
        with self._changed:
            self.status = "stopping"
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def put(self, model: str, ask: Ask) -> Future[Answer]:
        """Have a request answered, which the model has checked. A future that is cancelled in time
        is not computed.

        Raises:
            QueueFull: as many are waiting as may.
        """
        characters = sum(len(x) for x in (ask.question, ask.context, ask.text, ask.text_pair) if x)
        waiting = _Waiting(model, ask, characters, Future())
        with self._changed:
            if len(self._queue) >= self._max_queue:
                raise QueueFull
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.answer

    @property
    def waiting(self) -> int:
        """Requests that nothing computes yet."""
        return len(self._queue)

    def _work(self) -> None:
        while batch := self._next():
            batch = [each for each in batch if each.answer.set_running_or_notify_cancel()]
            if batch:
                self.batches(len(batch))
                self._answer(batch)

    def _next(self) -> list[_Waiting]:
        """The requests of the next batch; none when it is time to stop."""
        with self._changed:
            while not self._queue:
                if self.status == "stopping":
                    return []
                self._changed.wait()
            until = time.monotonic() + _WAIT
            while len(self._queue) < self._max_batch and (left := until - time.monotonic()) > 0:
                if self.status == "stopping":
                    break
                self._changed.wait(left)
            batch: list[_Waiting] = []
            passed: list[_Waiting] = []
            characters = 0
            while self._queue and len(batch) < self._max_batch:
                each = self._queue.popleft()
                if batch and each.model != batch[0].model:
                    passed.append(each)
                    continue
                if batch and characters + each.characters > _CHARACTERS:
                    passed.append(each)
                    break
                characters += each.characters
                batch.append(each)
            self._queue.extendleft(reversed(passed))
            return batch

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        model = self._models[batch[0].model]
        try:
            answers = model.answer([each.ask for each in batch])
            for each, answer in zip(batch, answers, strict=True):
                each.answer.set_result(answer)
        except InputError as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for each in batch:  # which one it is
                self._answer([each])
        except Exception as error:
            logger.exception("%s could not answer", model.name)
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)


@contextlib.contextmanager
def answering(batcher: Batcher) -> Iterator[Batcher]:
    """A batcher that is started and, at the end, stopped; for programs without a server."""
    ready = threading.Event()
    batcher.start(when_ready=ready.set, when_failed=ready.set)
    ready.wait()
    try:
        yield batcher
    finally:
        batcher.stop()
