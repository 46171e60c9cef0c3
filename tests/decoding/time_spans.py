"""Time decode_spans beside a plain Python n-best loop. Not a test; run it as a script.

The loop is the search of transformers' postprocess_qa_predictions: the 20 best starts and ends are
paired, so it can miss spans that decode_spans finds.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxbert import decode_spans

WINDOWS, LENGTH, LONGEST, BEST = 1700, 384, 30, 20


def loop(start: np.ndarray, end: np.ndarray, mask: np.ndarray) -> list[list[Any]]:
    lists = []
    for s, e, allowed in zip(start, end, mask, strict=True):
        starts = np.argsort(s)[-1 : -BEST - 1 : -1].tolist()
        ends = np.argsort(e)[-1 : -BEST - 1 : -1].tolist()
        found = [
            (s[i] + e[j], i, j)
            for i in starts
            for j in ends
            if allowed[i] and allowed[j] and i <= j < i + LONGEST
        ]
        lists.append(sorted(found, reverse=True)[:BEST])
    return lists


def median(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, WINDOWS, LENGTH)).astype(np.float32)
    mask = np.ones((WINDOWS, LENGTH), bool)
    mask[:, :20] = mask[:, -1] = False
    decode = jax.jit(jax.vmap(functools.partial(decode_spans, max_answer_length=LONGEST, k=BEST)))
    began = time.perf_counter()
    jax.block_until_ready(decode(start, end, mask))
    print(f"first call, with compiling: {time.perf_counter() - began:.2f} s")
    ours = median(lambda: jax.block_until_ready(decode(start, end, mask)))
    print(f"decode_spans, exact:        {ours:.3f} s for {WINDOWS} windows")
    print(f"Python n-best loop:         {median(lambda: loop(start, end, mask)):.3f} s")


if __name__ == "__main__":
    main()
