"""Measure `jaxbert serve`: many requests at once, each compared with the predictor's own answer.

python tests/serve/time_requests.py runs/qa_demo
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence

import httpx
from serving import server

from jaxbert import QuestionAnswerer
from jaxbert.data.questions import read_qa
from jaxbert.demo import path_of


def questions(count: int) -> list[dict[str, str]]:
    """Questions of the demo's texts, no two alike."""
    names = ["qa_en_dev.json", "qa_en_train.json"]
    rows = read_qa([path_of(name) for name in names]).examples
    return [
        {"question": rows[n % len(rows)].question, "context": f"{rows[n % len(rows)].context} {n}"}
        for n in range(count)
    ]


def send_all(
    url: str, asks: Sequence[dict[str, str]]
) -> tuple[list[httpx.Response], list[float], float]:
    """The replies, the seconds that each took, and those of all."""

    async def one(client: httpx.AsyncClient, ask: dict[str, str]) -> tuple[httpx.Response, float]:
        begun = time.perf_counter()
        reply = await client.post(url + "predict", json=ask)
        return reply, time.perf_counter() - begun

    async def all_of_them() -> tuple[list[tuple[httpx.Response, float]], float]:
        limits = httpx.Limits(max_connections=len(asks))
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            begun = time.perf_counter()
            found = await asyncio.gather(*(one(client, ask) for ask in asks))
            return found, time.perf_counter() - begun

    found, seconds = asyncio.run(all_of_them())
    return [reply for reply, _ in found], [each for _, each in found], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max_batch", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--compilation_cache_dir", default=None)
    arguments = parser.parse_args()
    asks = questions(arguments.requests)
    own = QuestionAnswerer.from_pretrained(arguments.model)
    expected = own([dict(ask) for ask in asks], calibrated=True)
    more = []
    if arguments.compilation_cache_dir:
        more = ["--compilation_cache_dir", arguments.compilation_cache_dir]
    for most in arguments.max_batch:
        with server(arguments.model, "--max_batch", str(most), "--timeout", "120", *more) as made:
            print(f"--max_batch {most}: {next(line for line in made.lines if 'compil' in line)}")
            rates = []
            for _ in range(arguments.rounds):
                replies, each, seconds = send_all(made.url, asks)
                assert {reply.status_code for reply in replies} == {200}
                furthest = 0.0
                for reply, answer in zip(replies, expected, strict=True):
                    first = reply.json()["answers"][0]
                    assert {**first, "score": 0} == {**answer, "score": 0}, (first, answer)
                    furthest = max(furthest, abs(first["score"] - answer["score"]))
                rates.append(len(asks) / seconds)
                cuts = statistics.quantiles(each, n=100)
                print(
                    f"  {len(asks)} requests at once: {rates[-1]:.1f} a second, p50 "
                    f"{cuts[49]:.2f} s, p99 {cuts[98]:.2f} s; all answers are the predictor's, "
                    f"scores within {furthest:.0e}"
                )
            for line in httpx.get(made.url + "metrics").text.splitlines():
                if line.startswith(("jaxbert_batch_requests_count", "jaxbert_batch_requests_sum")):
                    print(f"  {line}")
            print(f"  median {statistics.median(rates):.1f} requests a second")
            made.stop()


if __name__ == "__main__":
    main()
