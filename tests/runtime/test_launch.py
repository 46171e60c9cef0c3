"""The launcher, with tiny scripts in the place of trainings."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.runtime import launcher

pytestmark = pytest.mark.integration

# Every script knows its rank and which start this is; `tell` leaves what a test waits for.
PRELUDE = """
import os, pathlib, signal, subprocess, sys, time

_, address, _, count, _, rank = sys.argv[-6:]
assert sys.argv[-6::2] == ["--coordinator_address", "--num_processes", "--process_id"]
rank, here = int(rank), pathlib.Path(__file__).parent

def tell(name, text=""):
    new = here / f".{rank}"
    new.write_text(str(text))
    new.rename(here / name)

def there(path):  # until the launcher has taken note of its end
    try:
        os.kill(int(path.read_text().split()[0]), 0)
        return True
    except ProcessLookupError:
        return False

def wait_for_end(other):
    path = here / f"started-{other}-{start}"
    while not path.exists() or there(path):
        time.sleep(0.02)

def beat():
    pathlib.Path(os.environ["JAXBERT_HEARTBEAT_FILE"]).touch()

start = 1 + len(list(here.glob(f"started-{rank}-*")))
tell(f"started-{rank}-{start}", f"{os.getpid()} {address}")
assert not any(there(path) for path in here.glob(f"started-*-{start - 1}"))
"""
SLEEP = "time.sleep(100)"
SET_BY_THE_LAUNCHER = ("TQDM_MININTERVAL", "PYTHONUNBUFFERED")
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def write(body: str) -> str:
        path = tmp_path / "train.py"
        path.write_text(PRELUDE + body)
        return str(path)

    return write


@contextlib.contextmanager
def running(*options: str, n: int = 2, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "jaxbert.launch", "-n", str(n), *options]
    environment = {k: v for k, v in os.environ.items() if k not in SET_BY_THE_LAUNCHER} | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=REPOSITORY, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, list[str], list[str]]:
    """Status, and the lines of both streams."""
    out, err = (stream.decode().split("\n") for stream in process.communicate(timeout=60))
    assert out.pop() == err.pop() == ""
    assert not any("Traceback" in line for line in err), err
    return process.returncode, out, [line.removeprefix("launch: ") for line in err]


def run(*options: str, n: int = 2, **variables: str) -> tuple[int, list[str], list[str]]:
    with running(*options, n=n, **variables) as process:
        return ended(process)


def wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def all_there(folder: Path, *names: str) -> Callable[[], bool]:
    return lambda: all((folder / name).exists() for name in names)


def starts(folder: Path) -> dict[str, list[str]]:
    """Pid and address of each start, by `rank-start`."""
    files = folder.glob("started-*")
    return {path.name.removeprefix("started-"): path.read_text().split() for path in files}


def alive(pid: str) -> bool:
    try:  # an orphan may wait, dead, for its new parent
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def none_alive(folder: Path) -> bool:
    return not any(alive(pid) for pid, _ in starts(folder).values())


def test_both_streams_come_line_by_line_after_the_number(script: Callable[[str], str]) -> None:
    name = script(
        "os.write(1, b'one\\n\\n  two\\r\\nthree\\xff\\nlast')\n"
        "os.write(2, b'\\r 10%\\r   \\r 20%\\n')\n"
        "gpu, interval = (os.environ[x] for x in ('CUDA_VISIBLE_DEVICES', 'TQDM_MININTERVAL'))\n"
        "print(sys.argv[1], count, gpu, interval, file=sys.stderr)"
    )
    status, out, err = run("--", name, "its word", CUDA_VISIBLE_DEVICES="5,6")
    assert status == 0
    for i in range(2):
        lines = ["one", "", "  two", "three\N{REPLACEMENT CHARACTER}", "last"]
        assert [x for x in out if x.startswith(f"[{i}]")] == [f"[{i}] {line}" for line in lines]
        lines = [" 10%", " 20%", f"its word 2 {i + 5} 10"]
        assert [x for x in err if x.startswith(f"[{i}]")] == [f"[{i}] {line}" for line in lines]
    assert len(out) == 10
    assert len(err) == 6


@given(st.lists(st.tuples(st.text(alphabet="aä语 %\t", min_size=1), st.sampled_from(["\n", "\r"]))))
def test_no_character_of_a_line_is_lost(lines: list[tuple[str, str]]) -> None:
    read, write = os.pipe()
    os.write(write, "".join(text + end for text, end in lines).encode())
    os.close(write)
    kept = [text for text, end in lines if end == "\n" or text.strip()]
    out, target = os.pipe()
    launcher._pass_on(os.fdopen(read, "rb"), target, "[7] ")
    os.close(target)
    with os.fdopen(out, encoding="utf-8", newline="") as result:
        assert result.read() == "".join(f"[7] {text}\n" for text in kept)


def test_a_line_comes_at_once_and_programs_that_are_no_scripts_run_too(tmp_path: Path) -> None:
    go = tmp_path / "go"
    body = f'echo now; until test -e "{go}"; do sleep 0.05; done; echo "$@"'
    with running("--", "sh", "-c", body, "sh", n=1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"[0] now\n"  # while it still runs
        go.touch()
        last = process.stdout.read().decode()
    assert re.fullmatch(
        r"\[0\] --coordinator_address 127\.0\.0\.1:\d+ --num_processes 1 --process_id 0\n", last
    )


def test_much_output_on_both_streams_is_passed_on_whole(script: Callable[[str], str]) -> None:
    # Far more than pipes hold, in an order that ends in a deadlock if one stream waits.
    name = script(
        "for stream in (sys.stderr, sys.stdout, sys.stderr):\n"
        "    stream.write((f'{rank}' * 5000 + '\\n') * 200)"
    )
    status, out, err = run("--", name)
    assert status == 0
    for lines, each in ((out, 200), (err, 400)):
        assert sorted(lines) == sorted(
            f"[{i}] {str(i) * 5000}" for i in range(2) for _ in range(each)
        )


def test_the_last_output_waits_for_its_reader(script: Callable[[str], str], tmp_path: Path) -> None:
    # More than the pipe to the reader holds, and less than the two on the way to it.
    with running("--", script("print('line\\n' * 18000, end='')"), n=1) as process:
        wait(lambda: "0-1" in starts(tmp_path))
        wait(lambda: none_alive(tmp_path))
        assert ended(process) == (0, ["[0] line"] * 18000, [])


def test_a_killed_process_starts_all_again_at_another_port(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    name = script(
        "print(start)\n"  # which is not lost in the buffer of a killed process
        "if start == 1:\n"
        "    (here / f'printed-{rank}').touch()\n"
        "    while not (here / 'printed-0').exists(): time.sleep(0.02)\n"
        f"    if rank == 1: {KILLED}\n"
        f"    {SLEEP}"
    )
    status, out, err = run("--", name)
    assert sorted(out) == ["[0] 1", "[0] 2", "[1] 1", "[1] 2"]
    assert (status, err) == (0, ["process 1 was killed by SIGKILL; starting again (1 of 3)"])
    found = starts(tmp_path)
    assert sorted(found) == ["0-1", "0-2", "1-1", "1-2"]
    ports = {start: address for start, (_, address) in found.items()}
    assert ports["0-1"] == ports["1-1"] != ports["0-2"] == ports["1-2"]
    assert none_alive(tmp_path)


def test_it_gives_up_after_max_restarts(script: Callable[[str], str], tmp_path: Path) -> None:
    status, _, err = run("--max_restarts", "1", "--", script("sys.exit(rank)"))
    assert status == 1
    assert err == [
        "process 1 ended with status 1; starting again (1 of 1)",
        "process 1 ended with status 1; given up (--max_restarts 1)",
    ]
    assert len(starts(tmp_path)) == 4


def test_wrong_input_ends_the_job_though_another_process_aborts_before(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    name = script(f"if rank == 1: {KILLED}\nif rank == 2: {SLEEP}\nwait_for_end(1)\nsys.exit(2)")
    status, _, err = run("--", name, n=3)
    assert (status, err) == (
        2,
        ["process 0 ended with status 2, as for wrong input; not started again"],
    )
    assert none_alive(tmp_path)


@pytest.mark.parametrize(
    ("other", "grace", "more"),
    [
        ("sys.exit(75)", "60", []),
        (KILLED, "60", []),
        (SLEEP, "0.5", ["0.5 s are over: process 1 killed"]),
    ],
)
def test_a_stopped_process_ends_the_job_with_75(
    other: str, grace: str, more: list[str], script: Callable[[str], str], tmp_path: Path
) -> None:
    name = script(f"if rank == 0: sys.exit(75)\nwait_for_end(0)\n{other}")
    status, _, err = run("--grace", grace, "--", name)
    assert status == 75
    assert err == [f"process 0 stopped; the others have {grace} s to do so", *more]
    assert sorted(starts(tmp_path)) == ["0-1", "1-1"]
    assert none_alive(tmp_path)


@pytest.mark.parametrize("how", ["sleeps", "is stopped"])
def test_a_process_without_steps_starts_all_again(
    how: str, script: Callable[[str], str], tmp_path: Path
) -> None:
    # The second start takes longer than the timeout before its first step: that is no stall.
    end = SLEEP if how == "sleeps" else "os.kill(os.getpid(), signal.SIGSTOP)"
    name = script(
        "if start == 2: time.sleep(1.5); beat(); sys.exit()\n"
        "while not (here / f'started-{1 - rank}-1').exists(): time.sleep(0.02)\n"
        "beat()\n"
        f"if rank == 1: {end}\n"
        "for _ in range(1000): beat(); time.sleep(0.05)"
    )
    status, _, err = run("--stall_timeout", "1", "--", name)
    assert status == 0
    assert len(err) == 1
    # On a very busy machine the other may be late as well.
    line = r"process(es 0,)? 1 made no step for 1 s; starting again \(1 of 3\)"
    assert re.fullmatch(line, err[0]), err
    assert len(starts(tmp_path)) == 4
    assert none_alive(tmp_path)


def test_a_process_that_never_makes_a_step_starts_all_again(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    name = script(f"if start == 2: beat(); sys.exit()\nif rank == 0: beat()\n{SLEEP}")
    status, _, err = run("--start_timeout", "2", "--", name)
    assert status == 0
    assert err == ["process 1 made no step for 2 s; starting again (1 of 3)"]
    assert none_alive(tmp_path)


STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
SAVES = """
def save(number, frame):
    tell(f"saved-{rank}")
    sys.exit(75)

signal.signal(signal.SIGTERM, save)
"""
READY = f"\ntell(f'ready-{{rank}}')\n{SLEEP}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_job_ends_with_75(
    number: signal.Signals, script: Callable[[str], str], tmp_path: Path
) -> None:
    with running("--", script(SAVES + READY)) as process:
        wait(all_there(tmp_path, "ready-0", "ready-1"))
        process.send_signal(number)
        status, _, err = ended(process)
    assert status == 75
    assert len(err) == 1
    assert err[0].startswith(f"{number.name} passed on; they have 60 s")
    assert all_there(tmp_path, "saved-0", "saved-1")()
    assert sorted(starts(tmp_path)) == ["0-1", "1-1"]


@pytest.mark.parametrize("case", ["second signal", "grace"])
def test_processes_that_do_not_end_are_killed(
    case: str, script: Callable[[str], str], tmp_path: Path
) -> None:
    grace = "1" if case == "grace" else "1000"
    name = script(f"{SAVES}if rank == 0: {STUBBORN}{READY}")
    with running("--grace", grace, "--", name) as process:
        wait(all_there(tmp_path, "ready-0", "ready-1"))
        process.send_signal(signal.SIGTERM)
        wait(lambda: not alive(starts(tmp_path)["1-1"][0]))
        if case == "second signal":
            process.send_signal(signal.SIGINT)
        status, _, err = ended(process)
    assert status == 75
    why = "a second signal" if case == "second signal" else "1 s are over"
    assert err[1:] == [f"{why}: process 0 killed"]
    assert none_alive(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_no_process_survives_a_kill_of_the_launcher(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    with running("--", script(STUBBORN + READY), TMPDIR=str(tmp_path)) as process:
        wait(all_there(tmp_path, "ready-0", "ready-1"))
        assert all(alive(pid) for pid, _ in starts(tmp_path).values())
        process.kill()
        process.wait()
        wait(lambda: none_alive(tmp_path))


def test_what_a_failed_process_leaves_is_killed_and_a_signal_meanwhile_stops_the_job(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    # One process in its group, and one that has left it and holds the pipes for longer.
    name = script(
        "for new in (False, True):\n"
        "    child = subprocess.Popen(['sleep', '30'], start_new_session=new)\n"
        "    tell(f'left-{new}', child.pid)\n"
        "sys.exit(1)"
    )
    begin = time.monotonic()
    with running("--", name, n=1) as process:
        wait(all_there(tmp_path, "left-True"))
        wait(lambda: none_alive(tmp_path))
        wait(lambda: not alive((tmp_path / "left-False").read_text()))
        process.send_signal(signal.SIGTERM)
        process.wait()
        os.kill(int((tmp_path / "left-True").read_text()), signal.SIGKILL)
        status, _, err = ended(process)
    assert status == 75
    late = "process 0 ended with status 1; SIGTERM: not started again"
    assert err == [late] or (len(err) == 1 and err[0].startswith("SIGTERM passed on"))
    assert time.monotonic() - begin < 25
    assert len(starts(tmp_path)) == 1


def test_without_a_reader_the_job_continues(script: Callable[[str], str], tmp_path: Path) -> None:
    with running("--", script("print('x\\n' * 10**5); tell(f'done-{rank}')")) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
    assert all_there(tmp_path, "done-0", "done-1")()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["-n", "2"], "no command; give it after --"),
        (["-n", "2", "--"], "no command; give it after --"),
        (["-n", "2", "train/qa.py"], "unrecognized arguments: train/qa.py; give -n N -- SCRIPT.py"),
        (["--", "train/qa.py"], "the following arguments are required: -n"),
        (["-n", "0", "--", "train/qa.py"], "-n 0: it must be at least 1"),
        (["-n", "two", "--", "train/qa.py"], "invalid int value: 'two'"),
        (["-n", "1", "--stall_timeout", "nan", "--", "train/qa.py"], "--stall_timeout nan"),
        (["-n", "1", "--max_restarts", "-1", "--", "train/qa.py"], "--max_restarts -1"),
        (["-n", "1", "--", "train/none.py"], "train/none.py: no such script"),
        (["-n", "1", "--", "no-such-program"], "no-such-program: no such script or program"),
    ],
)
def test_wrong_usage_is_one_line(
    options: list[str], part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main(options) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert part in err


def test_a_misspelled_command_names_the_closest(capfd: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(["-n", "1", "--", "trian", "qa"], commands={"train", "eval"}) == 2
    message = "error: trian: no such script or program; did you mean the command train?\n"
    assert capfd.readouterr().err == message


def test_a_program_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    status, out, err = run("--", str(program))
    assert (status, out, err) == (2, [], [f"error: {program}: Exec format error"])


@pytest.mark.parametrize(
    ("chosen", "files", "expected"),
    [
        ("4,GPU-x, 6", 0, ["4", "GPU-x"]),
        ("1", 8, None),  # the others are hidden on purpose
        ("", 8, None),
        (None, 3, ["0", "1"]),
        (None, 1, None),
        (None, 0, None),
    ],
)
def test_each_process_gets_a_gpu_where_there_are_enough(
    chosen: str | None, files: int, expected: list[str] | None, tmp_path: Path
) -> None:
    for name in ["nvidiactl", "nvidia-uvm", *(f"nvidia{i + 2}" for i in range(files))]:
        (tmp_path / name).touch()
    environment = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert launcher._gpus(2, environment, tmp_path) == expected


def test_the_launcher_imports_nothing_heavy() -> None:
    code = (
        "import sys, jaxbert.runtime.launcher\n"
        "print(*{'jax', 'transformers', 'numpy', 'flax', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")
