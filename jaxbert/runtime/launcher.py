"""Start the processes of one training on this machine, and look after them.

    jaxbert launch -n 2 -- train qa --train_file train-v1.1.json ...
    python -m jaxbert.launch -n 2 -- train/qa.py --train_file train-v1.1.json ...

What stands behind -- is a command of jaxbert, a script, or another program.
Each process gets --coordinator_address, --num_processes and --process_id after its own words, and
one GPU if there is one for each. Its output comes line by line after its number: "[0] step 10".

When a process ends otherwise than it should, or makes no step any more, all are killed and started
again, and resume from the last checkpoint. SIGTERM and Ctrl-C are passed on: the processes save and
end. A second one kills them.

Several hosts: each runs the same command, and they meet at the first one.

    jaxbert launch -n 1 --hosts 2:4 --meet HOST:PORT -- train qa --train_file train-v1.1.json ...

A host that is lost or gets SIGTERM is left out: the job continues on the remaining hosts, with
the same examples at every step. Hosts that come back are taken in.

exit status: 0 all done; 1 given up; 2 wrong input; 75 stopped, the same command resumes.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import difflib
import functools
import io
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

from jaxbert.errors import InputError
from jaxbert.runtime.meeting import (
    EXIT_WRONG_INPUT,
    Alone,
    Meeting,
    Order,
    Outcome,
    Share,
    Terms,
)
from jaxbert.runtime.meeting_place import meet
from jaxbert.runtime.signal_listener import EXIT_STOPPED

_POLL = 0.1  # seconds between two looks at the processes
# A failing process takes the others with it, since JAX's service is gone; one of them may be the
# first to end, and the one whose status tells what happened (wrong input, stopped) a later one.
_AFTERMATH = 1.0
_DRAIN = 5.0  # for the last output; what has left its process group may hold the pipe for ever

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_OUTPUT = threading.Lock()  # one for both streams: they may be one pipe


@dataclasses.dataclass
class _Child:
    """A process, the threads that pass on its output, and the file it touches at every step."""

    rank: int
    process: subprocess.Popen[bytes]
    pumps: list[threading.Thread]
    heartbeat: Path
    touched: int | None = None  # the file's time
    # When that was seen to change, or the process started, on a clock that nobody sets.
    touched_at: float = dataclasses.field(default_factory=time.monotonic)


class _Patience(NamedTuple):
    """Seconds that the launcher waits.

    Attributes:
        start: for the first step: before it data are read and programs compiled.
        stall: for each later one.
        grace: for the end of a process after a signal.
    """

    start: float
    stall: float
    grace: float


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults shown, and the docstring as it is written."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; give -n N -- SCRIPT.py ..., or --help")


def main(words: Sequence[str] | None = None, *, commands: Collection[str] = ()) -> int:
    """Run a job to its end.

    Args:
        words: the command line; by default that of this process.
        commands: what may stand in place of a script: names of commands of `python -m jaxbert`.

    Returns:
        The exit status.
    """
    try:
        options, command = _parse(sys.argv[1:] if words is None else words, commands)
        patience = _Patience(options.start_timeout, options.stall_timeout, options.grace)
        signals: list[str] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: signals.append(signal.Signals(number).name))
        with tempfile.TemporaryDirectory(prefix="jaxbert-", ignore_cleanup_errors=True) as folder:
            meeting = _meeting(
                options.hosts,
                options.meet,
                options.n,
                Path(folder).name,
                patience,
                options.join_timeout,
                options.max_restarts,
                signals,
            )
            with contextlib.closing(meeting):
                return _run(meeting, options.n, command, patience, Path(folder), signals)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'launch'}: {error.strerror or error}", file=sys.stderr)
    return EXIT_WRONG_INPUT


def make_parser() -> argparse.ArgumentParser:
    """The launcher's flags."""
    usage = "%(prog)s -n N [options] -- COMMAND or SCRIPT.py [its options]"
    parser = _Parser("jaxbert launch", usage, __doc__, formatter_class=_Help)
    add = functools.partial(parser.add_argument, metavar="N")
    add("-n", type=int, required=True, help="processes")
    add("--max_restarts", type=int, default=3, help="times that all are started again")
    add("--stall_timeout", type=float, default=600.0, help="seconds without a step, to start again")
    add("--start_timeout", type=float, default=3600.0, help="the same, to the first step")
    add("--grace", type=float, default=60.0, help="seconds to save and end in after a signal")
    add("--hosts", metavar="MIN:MAX", help="hosts of the job, each with -n processes")
    add("--meet", metavar="HOST:PORT", help="where their launchers meet: an address of one of them")
    add("--join_timeout", type=float, default=30.0, help="seconds to wait for more than MIN hosts")
    return parser


def _parse(words: Sequence[str], commands: Collection[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's options, and the words of a process but for its number."""
    cut = words.index("--") if "--" in words else len(words)
    options, command = make_parser().parse_args(words[:cut]), list(words[cut + 1 :])
    bounds = {
        "-n": 1,
        "--max_restarts": 0,
        "--join_timeout": 0,
        "--grace": 0,
        "--stall_timeout": 1,
        "--start_timeout": 1,
    }
    for flag, least in bounds.items():
        value = getattr(options, flag.lstrip("-"))
        if not value >= least:  # so that NaN is refused
            raise InputError(f"{flag} {value}: it must be at least {least}")
    if (options.hosts is None) != (options.meet is None):
        raise InputError("--hosts and --meet go together; for one host leave both out")
    if not command:
        raise InputError("no command; give it after --, as in: -n 2 -- train/qa.py --output_dir x")
    first = command[0]
    if first in commands:
        return options, [sys.executable, "-m", "jaxbert", *command]
    is_script = first.endswith(".py") and Path(first).is_file()
    if is_script or first.startswith("-"):  # as in `python -m`
        return options, [sys.executable, *command]
    if first.endswith(".py") or shutil.which(first) is None:
        close = difflib.get_close_matches(first.replace("-", "_").lower(), commands, n=1)
        meant = f"did you mean the command {close[0]}?" if close else "give its path after --"
        raise InputError(f"{first}: no such script or program; {meant}")
    return options, command


def _meeting(
    hosts: str | None,
    place: str | None,
    n: int,
    job: str,
    patience: _Patience,
    join: float,
    max_restarts: int,
    signals: list[str],
) -> Meeting:
    """The hosts of the job: --hosts that meet at --meet, or this one alone.

    Raises:
        InputError: --hosts or --meet is not what it is to be.
    """
    if hosts is None or place is None:
        return Alone(n, job, max_restarts, signals, _say)
    least, _, most = hosts.partition(":")
    numbers = [int(text) if text.isdecimal() else 0 for text in (least, most or least)]
    if not 1 <= numbers[0] <= numbers[1]:
        raise InputError(f"--hosts {hosts}: give MIN:MAX, as in 2:4, or one number")
    host, _, port = place.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(f"--meet {place}: give HOST:PORT of the first host")
    terms = Terms(
        least=numbers[0],
        most=numbers[1],
        join=join,
        start=patience.start,
        grace=patience.grace,
        max_restarts=max_restarts,
    )
    return meet((host, int(port)), n, job, terms, signals, _say)


def _run(
    meeting: Meeting,
    n: int,
    command: list[str],
    patience: _Patience,
    folder: Path,
    signals: list[str],
) -> int:
    """Start processes as the meeting says, again and again, until the job is over."""
    outcome: Outcome = None
    for attempt in itertools.count():
        share = meeting.next(outcome)
        if isinstance(share, int):
            return share
        outcome = _attempt(meeting, share, n, command, patience, folder / str(attempt), signals)
    raise AssertionError("unreachable")


def _attempt(
    meeting: Meeting,
    share: Share,
    n: int,
    command: list[str],
    patience: _Patience,
    folder: Path,
    signals: list[str],
) -> Outcome:
    """Start this host's processes and watch them, until none is left; returns what _watch says."""
    folder.mkdir()
    gpus = _gpus(n, os.environ)
    children: list[_Child] = []
    try:
        for place, rank in enumerate(range(share.first, share.first + n)):
            environment = {
                "TQDM_MININTERVAL": "10",
                "PYTHONUNBUFFERED": "1",  # lines come at once, though to a pipe
                **os.environ,
                "JAXBERT_HEARTBEAT_FILE": str(folder / str(rank)),
                "JAXBERT_JOB": share.job,
            }
            if gpus is not None:
                environment["CUDA_VISIBLE_DEVICES"] = gpus[place]
            job = ["--coordinator_address", share.address, "--num_processes", str(share.processes)]
            process = _start([*command, *job, "--process_id", str(rank)], environment)
            pumps = [
                threading.Thread(target=_pass_on, args=(source, target, f"[{rank}] "), daemon=True)
                for source, target in ((process.stdout, 1), (process.stderr, 2))
            ]
            children.append(_Child(rank, process, pumps, folder / str(rank)))
            for pump in pumps:
                pump.start()
        return _watch(children, patience, signals, meeting)
    finally:
        _kill(children)


def _gpus(
    count: int, environment: Mapping[str, str], devices: Path = Path("/dev")
) -> list[str] | None:
    """CUDA_VISIBLE_DEVICES for each process; None if there are fewer GPUs than processes."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:  # whatever the numbers of the files are: CUDA counts from 0
        gpus = [str(i) for i, _ in enumerate(devices.glob("nvidia[0-9]*"))]
    else:
        gpus = [gpu.strip() for gpu in chosen.split(",") if gpu.strip()]
    return gpus[:count] if len(gpus) >= count else None


def _start(words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process in a session of its own: Ctrl-C reaches it through the launcher only."""
    launcher = os.getpid()

    def die_with_launcher() -> None:  # however that ends; call _start in the main thread
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != launcher:  # it has ended just before
                os._exit(1)

    return subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_launcher,
    )


def _pass_on(source: IO[bytes], target: int, prefix: str) -> None:
    r"""Write the lines of a pipe to a file descriptor until its end; a \r ends a line, too."""
    with io.TextIOWrapper(source, encoding="utf-8", errors="replace", newline="") as lines:
        for line in lines:
            text = line.rstrip("\r\n")
            if text.strip() or not line.endswith("\r"):  # else a progress bar begins or is wiped
                _write(target, f"{prefix}{text}\n")


def _write(target: int, text: str) -> None:
    # Not by sys.stdout: a thread that waits for its buffer aborts Python when the launcher ends.
    data = text.encode()
    with _OUTPUT, contextlib.suppress(OSError):  # without whoever read, the training goes on
        while data:
            data = data[os.write(target, data) :]


def _say(event: str) -> None:
    """A line of the launcher's own, which does not wait long for a reader that has paused."""
    writer = threading.Thread(target=_write, args=(2, f"launch: {event}\n"), daemon=True)
    writer.start()
    writer.join(1.0)


def _watch(
    children: list[_Child], patience: _Patience, signals: list[str], meeting: Meeting
) -> Outcome:
    """Wait until this host's part of the job is over; processes may be left, to be killed."""
    passed_on = stopping = False
    failure = ""
    until = math.inf  # the others are waited for, once a process fails or stops
    while True:
        ends = {child.rank: status for child in children if (status := _end(child)) is not None}
        running = [child for child in children if child.rank not in ends]
        stopped = [rank for rank, status in ends.items() if status == EXIT_STOPPED]
        refused = [rank for rank, status in ends.items() if status == EXIT_WRONG_INPUT]
        now = time.monotonic()
        order = meeting.order()
        if order is Order.END and not signals:
            return None
        if (signals or order is Order.SAVE) and not passed_on:
            passed_on = stopping = True
            until = now + patience.grace
            for child in running:  # not the group: it may pass it on, and a second signal kills
                os.kill(child.process.pid, signal.SIGTERM)
            if signals:
                _say(
                    f"{signals[0]} passed on; they have {patience.grace:g} s to save and end; "
                    "again to kill"
                )
        elif refused and not signals:
            _say(
                f"{_names(refused)} ended with status {EXIT_WRONG_INPUT}, as for wrong input; not "
                "started again"
            )
            return EXIT_WRONG_INPUT
        elif stopped and not stopping:
            stopping = True
            until = now + patience.grace
            _say(f"{_names(stopped)} stopped; the others have {patience.grace:g} s to do so")
        elif not stopping and not failure:
            failure = ", ".join(_tell(rank, status) for rank, status in ends.items() if status)
            if failure:
                until = now + _AFTERMATH
            elif stalled := [c for c in running if _idle(c, now) > _wait(c, patience)]:
                seconds = max(_wait(child, patience) for child in stalled)
                return f"{_names(c.rank for c in stalled)} made no step for {seconds:g} s"
        if not running or now >= until or len(signals) > 1:
            break
        time.sleep(_POLL)
    if stopping and running:
        why = "a second signal" if len(signals) > 1 else f"{patience.grace:g} s are over"
        _say(f"{why}: {_names(child.rank for child in running)} killed")
    if stopping and refused:
        return EXIT_WRONG_INPUT
    done = not running and not any(ends.values())  # the signal came after the last step
    return 0 if done else EXIT_STOPPED if stopping else failure or 0


def _end(child: _Child) -> int | None:
    """With which status a process has ended; what is left of its group is killed."""
    if child.process.returncode is None and child.process.poll() is not None:
        _kill_group(child)  # now, since the number may become another's
    return child.process.returncode


def _names(ranks: Iterable[int]) -> str:
    numbers = [str(rank) for rank in ranks]
    return f"process{'es' * (len(numbers) > 1)} {', '.join(numbers)}"


def _tell(rank: int, status: int) -> str:
    if status > 0:
        return f"process {rank} ended with status {status}"
    name = next((s.name for s in signal.Signals if s == -status), f"signal {-status}")
    return f"process {rank} was killed by {name}"


def _wait(child: _Child, patience: _Patience) -> float:
    """Seconds that a process has for its next step."""
    return patience.start if child.touched is None else patience.stall


def _idle(child: _Child, now: float) -> float:
    """Seconds since a process was seen to touch its file, or was started."""
    with contextlib.suppress(FileNotFoundError):
        touched = child.heartbeat.stat().st_mtime_ns
        if touched != child.touched:
            child.touched, child.touched_at = touched, now
    return now - child.touched_at


def _kill(children: list[_Child]) -> None:
    """Kill what still runs, and wait for its end and the end of all output."""
    for child in children:
        if child.process.returncode is None:
            _kill_group(child)
    for child in children:
        child.process.wait()
    until = time.monotonic() + _DRAIN
    for pump in (pump for child in children for pump in child.pumps):
        pump.join(max(0.0, until - time.monotonic()))


def _kill_group(child: _Child) -> None:
    # By SIGKILL, which ends a stopped process too. Nobody is left: macOS says so the second way.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signal.SIGKILL)
