"""Examples to features, part by part, in bounded memory and perhaps by several processes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import numpy as np
from tqdm.auto import tqdm

from jaxbert.data.feature_files import spilled
from jaxbert.data.feature_parts import merged
from jaxbert.data.features import Features, check_ids
from jaxbert.data.shared_parts import SharedWork
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch_folder
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.runs.feature_cache import kept
from jaxbert.tasks.registry import AnyTask
from jaxbert.tasks.task import E, P, S, Task

logger = logging.getLogger("jaxbert")

_UNKNOWN = 0.2  # a larger share of [UNK] is reported
# The most examples of a part, and about how many characters it has.
_EXAMPLES, _CHARACTERS = 8192, 1 << 20
_IN_MEMORY = 1 << 24  # tokens; features of more go to files
_LONG = 10.0  # seconds, after which it is told how long it took


def encode_examples(
    task: Task[S, E, P],
    examples: Sequence[E],
    tokenizer: PreTrainedTokenizerFast,
    cfg: BertConfig,
    *,
    cache_dir: str | None = None,
    workers: int | None = None,
    to_learn: bool = False,
) -> Features:
    """The features of examples, checked against the model's tables; what is odd is logged.

    Many are kept in files and read by memory map: their memory is the system's to take back.

    Args:
        cache_dir: where they are kept for the next start; see jaxbert.runs.feature_cache.
        workers: processes that encode; None or 0 is this process.
        to_learn: without the windows from which nothing can be learned.

    Raises:
        InputError: rows are to be longer than the model's positions, an id is out of range, or
            there is no room for the files.
    """
    length = task.settings.max_seq_length
    if length > cfg.positions:
        raise InputError(
            f"--max_seq_length {length}: the model has {cfg.positions} positions; give that or less"
        )

    def encode(parts: Iterable[Sequence[E]]) -> Iterator[Features]:
        return _encoded(task, parts, tokenizer, cfg, workers or 0, len(examples))

    def joined(encoded: Iterable[Features]) -> Iterator[Features]:
        for part in task.join_parts(encoded, examples, tokenizer):
            part = _checked(part, tokenizer, cfg)
            yield part.to_learn() if to_learn else part

    def divided() -> Iterator[Sequence[E]]:
        return _divided(task, examples)

    def make() -> Iterator[Features]:
        return joined(encode(divided()))

    if cache_dir is None:
        features = _collected(make(), task)
    else:
        work = SharedWork(divided, encode, joined)
        features = kept(
            cache_dir, task, examples, tokenizer, cfg, make, to_learn=to_learn, shared=work
        )
    for note in (*features.notes, *task.remarks(examples, cfg)):
        logger.info("  %s", note)
    unknown = features.sums["unknown_tokens"] / max(1, features.sums["all_tokens"])
    if unknown > _UNKNOWN:
        logger.info("  %.0f %% of the tokens are [UNK]; is it the right vocabulary?", 100 * unknown)
    return features


def _checked(part: Features, tokenizer: PreTrainedTokenizerFast, cfg: BertConfig) -> Features:
    """A part, checked against the model's tables, whose tokens are counted."""
    check_ids(part, vocab_size=cfg.vocab_size, positions=cfg.positions, types=cfg.type_vocab_size)
    ids = part.tokens["input_ids"]
    sums = {
        "all_tokens": len(ids),
        "unknown_tokens": int(np.count_nonzero(ids == tokenizer.unk_token_id)),
    }
    return dataclasses.replace(part, sums={**part.sums, **sums})


def encode_to_learn(
    task: Task[S, E, P],
    examples: Sequence[E],
    tokenizer: PreTrainedTokenizerFast,
    cfg: BertConfig,
    origin: str,
    *,
    cache_dir: str | None = None,
    workers: int | None = None,
) -> Features:
    """The windows of examples from which something can be learned; what is left out is logged.

    Args:
        origin: of the examples, for the message.

    Raises:
        InputError: there is none, and as encode_examples.
    """
    features = encode_examples(
        task, examples, tokenizer, cfg, cache_dir=cache_dir, workers=workers, to_learn=True
    )
    for line in features.left_out:
        logger.info("  %s", line)
    if not len(features):
        raise InputError(
            f"{origin}: nothing can be learned from it: {'; '.join(features.left_out)}"
        )
    return features


def _collected(parts: Iterator[Features], task: AnyTask) -> Features:
    """The features of all parts: in memory, or in files of this run where they are many."""
    found: list[Features] = []
    tokens = 0
    for part in parts:
        found.append(part)
        tokens += int(part.bounds[-1])
        if tokens > _IN_MEMORY:
            break
    else:
        return task.finish(merged(found))
    elsewhere = "give --cache_dir, a folder with room for them, or set TMPDIR"
    with scratch_folder("features", elsewhere) as folder:
        return spilled(itertools.chain(found, parts), task.finish, folder)


# --- parts ------------------------------------------------------------------------------------


def _divided(task: Task[S, E, P], examples: Iterable[E]) -> Iterator[list[E]]:
    """The examples in order, in parts that are encoded at once."""
    part: list[E] = []
    size = 0
    for example in examples:
        part.append(example)
        size += task.characters(example)
        if len(part) == _EXAMPLES or size >= _CHARACTERS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _encoded(
    task: Task[S, E, P],
    divided: Iterable[Sequence[E]],
    tokenizer: PreTrainedTokenizerFast,
    cfg: BertConfig,
    workers: int,
    total: int,
) -> Iterator[Features]:
    """The parts' features in order.

    Args:
        total: examples, of which other hosts may encode a part.
    """
    started, tokens, encoded = time.monotonic(), 0, 0
    with (
        contextlib.ExitStack() as stack,
        tqdm(
            total=total,
            desc="tokenizing",
            unit=" examples",
            leave=False,
            disable=None,  # no terminal, no bar
            delay=1,
        ) as bar,
    ):
        if workers:
            processes = _Processes(workers, task, tokenizer, cfg)
            found = stack.enter_context(contextlib.closing(processes)).encode(divided)
        else:
            found = (task.encode_part(part, tokenizer, cfg) for part in divided)
        for part in found:
            bar.update(part.sums["examples"])
            encoded += part.sums["examples"]
            tokens += int(part.bounds[-1])
            yield part
    seconds = time.monotonic() - started
    if seconds > _LONG:
        logger.info(
            "  %s examples tokenized in %.0f s: %s examples and %s tokens a second%s",
            f"{encoded:,}",
            seconds,
            f"{encoded / seconds:,.0f}",
            f"{tokens / seconds:,.0f}",
            f"; other hosts the rest of {total:,}" if encoded < total else "",
        )


class _Processes:
    """Processes that encode parts; they end with this one."""

    def __init__(
        self, workers: int, task: AnyTask, tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> None:
        self._workers = workers
        self._pool = concurrent.futures.ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),  # JAX has threads
            initializer=_begin,
            initargs=(task, tokenizer, cfg),
        )

    def close(self) -> None:
        """End them."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def encode(self, parts: Iterable[Sequence[E]]) -> Iterator[Features]:
        """The features of parts in order; few parts are under way at once."""
        waiting: deque[concurrent.futures.Future[Features]] = deque()
        try:
            for part in parts:
                waiting.append(self._pool.submit(_encode, part))
                if len(waiting) > 2 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                f"--preprocessing_num_workers {self._workers}: a process ended before its work; is "
                "there memory for that many? A script must call jaxbert under "
                'if __name__ == "__main__"'
            ) from None


_worker: tuple[AnyTask, PreTrainedTokenizerFast, BertConfig] | None = None


def _begin(task: AnyTask, tokenizer: PreTrainedTokenizerFast, cfg: BertConfig) -> None:
    """In a process that encodes: what it encodes with."""
    global _worker
    _worker = task, tokenizer, cfg
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _encode(examples: Sequence[E]) -> Features:
    assert _worker is not None
    task, tokenizer, cfg = _worker
    return task.encode_part(examples, tokenizer, cfg)
