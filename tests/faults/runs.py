"""The fault harness: tiny trainings as child processes, to be killed, broken and resumed.

Children are forked from a server that has imported everything and started nothing, so one takes
seconds less than a script. Beside what a run writes, each child writes down the examples that lie
on its devices at each step.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from conftest import REPOSITORY
from scripts import environment

from jaxbert.runtime import processes

# A dozen steps of tiny batches; the loss moves at once, so that any difference shows in the bits.
QUESTIONS = 24
EVERY_STEP = ("--save_steps", "1")
STEPS = 2 * QUESTIONS // 4
WORDS = [
    *("--per_device_train_batch_size", "4", "--learning_rate", "1e-3", "--num_train_epochs", "2"),
    *("--max_seq_length", "64", "--doc_stride", "16", "--length_bucket", "0", "--seed", "3"),
]


def often(sample: int, default: int, nightly: int) -> list[Any]:
    """Numbers for a test of many draws: a sample of them in every run of the tests, `default` with
    -m faults, and all of them at night."""
    marks = [pytest.mark.faults, pytest.mark.nightly]
    return [
        pytest.param(n, marks=[] if n < sample else marks[0] if n < default else marks[1])
        for n in range(nightly)
    ]


_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["faults.runs"])


def write_questions(path: Path, unknown: set[int] = frozenset()) -> Path:
    """A file of short questions, one window each; the contexts of some have an unknown word."""
    rows = [
        {"id": f"q{n}", "question": f"who is at {n}?", "context": f"at {n} is the fox {n * n}"}
        for n in range(QUESTIONS)
    ]
    for row in rows:
        if int(row["id"][1:]) in unknown:
            row["context"] += " \u2603"
        row["answers"] = {"text": ["the fox"], "answer_start": [row["context"].index("the fox")]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def start(
    model: Path,
    folder: Path,
    *more: str,
    devices: int = 1,
    name: str = "run",
    place: str | None = None,
    **about: Any,
) -> BaseProcess:
    """Start train/qa.py in a child; its output goes to files beside the folder.

    Args:
        place: where the run lies, if it is not the folder: an address.
        about: variables of its environment; with STOP_AT it stops itself (SIGSTOP) at that step.
    """
    data = folder.parent / "questions.jsonl"
    if not data.exists():
        write_questions(data)
    words = ["--model_name_or_path", str(model), "--output_dir", place or str(folder), *WORDS]
    words += ["--train_file", str(data), *more]
    variables = environment(devices) | {k: str(v) for k, v in about.items()}
    places = [said(folder, "out", name), said(folder, "err", name), _ids(folder)]
    pipes = [os.pipe() for _ in places]
    given = [reduction.DupFd(w) for _, w in pipes]
    child = _server.Process(target=_train, args=(words, variables, given), daemon=True)
    child.start()
    pumps = []
    for (r, w), place in zip(pipes, places, strict=True):
        os.close(w)
        pumps.append(threading.Thread(target=_copy, args=(r, place), daemon=True))
        pumps[-1].start()
    _pumps[child] = pumps
    return child


# What a child says comes through pipes: it may be one that can write no file.
_pumps: dict[BaseProcess, list[threading.Thread]] = {}


def _copy(source: int, target: Path) -> None:
    with open(source, "rb", buffering=0) as pipe, target.open("ab", buffering=0) as file:
        while part := pipe.read(65536):
            file.write(part)


def _train(words: list[str], variables: dict[str, str], given: list[Any]) -> None:
    os.environ.update(variables)
    jax.config.update("jax_compilation_cache_dir", variables["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    out, err, ids = (fd.detach() for fd in given)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    _log_examples(ids)
    _hurry()
    if "HOST" in os.environ:  # this machine's processes as if they were on several
        processes.host_name = functools.partial(os.environ.get, "HOST")
    sys.argv = ["train/qa.py", *words]
    runpy.run_path(str(REPOSITORY / "train/qa.py"), run_name="__main__")


def _hurry() -> None:
    """With HURRY=SECONDS a silent owner counts as dead, and a bucket that fails is given up on,
    after that long."""
    from jaxbert.runs import place

    if seconds := float(os.environ.get("HURRY", 0)):
        place.BucketLock = functools.partial(  # type: ignore[misc, assignment]
            place.BucketLock, renewed=seconds / 8, dead=seconds
        )
        place.Bucket = functools.partial(place.Bucket, seconds=seconds)  # type: ignore[misc, assignment]


def _log_examples(target: int) -> None:
    """Write a line "[step, process, examples]" whenever a step is trained."""
    from jaxbert.runs import run_phases

    fit = run_phases.fit

    def logged(state: Any, progress: Any, source: Any, program: Any, *given: Any) -> Any:
        step, features = int(state.step), source.features

        def logged_step(state: Any, batch: Any, key: Any) -> Any:
            nonlocal step
            # Of each device its rows of every micro-batch, which together are the rows in order.
            shards = [np.asarray(part.data) for part in batch["row"].addressable_shards]
            windows = np.hstack([x.reshape(-1, x.shape[-1]) for x in shards]).ravel()
            ids = features.example[windows[windows >= 0]].tolist()
            os.write(target, f"{json.dumps([step, jax.process_index(), ids])}\n".encode())
            if os.environ.get("STOP_AT") == str(step):
                os.kill(os.getpid(), signal.SIGSTOP)
            step += 1
            return program.step(state, batch, key)

        return fit(state, progress, source, program._replace(step=logged_step), *given)

    run_phases.fit = logged


def said(folder: Path, ending: str = "err", name: str = "run") -> Path:
    """The file with what a child wrote: "out" or "err"."""
    return folder.parent / f"{folder.name}.{name}.{ending}"


def _ids(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.ids"


def wait(child: BaseProcess, seconds: float = 120) -> int:
    """The child's exit status, negative for a signal; one that does not end is a failure."""
    child.join(seconds)
    ended = child.exitcode
    if ended is None:
        child.kill()
        raise AssertionError(f"a child did not end in {seconds} s")
    for pump in _pumps.pop(child):
        pump.join(10)
    return ended


def whole(model: Path, folder: Path, *more: str, **about: Any) -> Path:
    """Run to the end."""
    status = wait(start(model, folder, *more, **about))
    assert status == 0, said(folder).read_text()[-3000:]
    return folder


def until(when: Callable[[], bool], children: list[BaseProcess], seconds: float = 100) -> None:
    """Wait until it is so, or a child has ended."""
    end = time.monotonic() + seconds
    while not when() and all(c.exitcode is None for c in children) and time.monotonic() < end:
        time.sleep(0.001)


def trained(folder: Path) -> int:
    """How many steps have been begun, those of earlier starts included."""
    path = _ids(folder)
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(", 0, [" in line for line in lines)


def stopped(child: BaseProcess) -> bool:
    """Whether a signal has stopped it, not ended it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        return Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    return False


def send(children: list[BaseProcess], number: signal.Signals) -> None:
    """A signal to those that are there."""
    for child in children:
        if child.exitcode is None and child.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(child.pid, number)


def result(folder: Path) -> dict[str, str]:
    """What must be equal to the last bit: parameters, optimizer and the examples of all steps.

    A step that was trained again after a kill must have had the same examples.
    """
    return state_of(folder) | {"examples": json.dumps(examples(folder))}


def state_of(folder: Path) -> dict[str, str]:
    """Parameters, optimizer, log and evaluations of a run that has ended."""
    newest = max(int(p.name) for p in (folder / "checkpoints").iterdir())
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as orbax:
        state = orbax.restore(folder / "checkpoints" / str(newest) / "state")
    found = {name: _hash(state[name]) for name in ("params", "opt_state")}
    found["model"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    log = map(json.loads, (folder / "train_log.jsonl").read_text().splitlines())
    found["log"] = json.dumps([(line["step"], line["loss"]) for line in log])
    progress = json.loads((folder / "checkpoints" / str(newest) / "progress.json").read_text())
    found["evaluations"] = json.dumps([progress[n] for n in ("evaluations", "best_step", "waited")])
    return found | {"step": str(int(state["step"]))}


def examples(folder: Path) -> list[list[int]]:
    """Of each step, in order, the numbers of its examples; each is in every epoch once."""
    parts: dict[int, dict[int, list[int]]] = {}
    for line in _ids(folder).read_text().splitlines():
        step, process, ids = json.loads(line)
        there = parts.setdefault(step, {}).setdefault(process, ids)
        assert there == ids, f"step {step} has other examples than before"
    assert sorted(parts) == list(range(len(parts)))
    steps = [[n for rank in sorted(part) for n in part[rank]] for _, part in sorted(parts.items())]
    trained = [n for step in steps for n in step]
    assert len(trained) == 2 * QUESTIONS
    for epoch in (trained[:QUESTIONS], trained[QUESTIONS:]):
        assert sorted(epoch) == list(range(QUESTIONS))
    return steps


def _hash(tree: Any) -> str:
    digest = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(x).tobytes())
    return digest.hexdigest()
