"""Signals come through at once, whatever the main thread is computing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from scripts import environment

from jaxbert.runtime.stop_signals import StopSignals

pytestmark = pytest.mark.integration

# A computation of hours: the main thread does not come back from XLA.
SCRIPT = """
import jax, jax.numpy as jnp
from jaxbert.runtime.stop_signals import StopSignals

def long(x):
    return jax.lax.fori_loop(0, 2**31 - 1, lambda _, x: jnp.sin(x) + 0.5, x)

with StopSignals():
    compiled = jax.jit(long).lower(jnp.zeros(3)).compile()
    print("ready", flush=True)
    jax.block_until_ready(compiled(jnp.zeros(3)))
"""


# A notebook's kernel or an interpreter, which has prompts.
KERNEL = """
import sys
from jaxbert.runtime.stop_signals import StopSignals

sys.ps1 = "In : "
with StopSignals():
    print("ready", flush=True)
    sys.stdin.readline()
print("alive")
"""


def started(code: str) -> subprocess.Popen[str]:
    """A process of the code that has told that it is ready."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    child = subprocess.Popen([sys.executable, "-c", code], env=environment(), text=True, **pipes)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def stop(child: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send it its first signal, and see that it says so."""
    assert child.stderr is not None
    child.send_signal(number)
    assert child.stderr.readline() == "\n"
    assert child.stderr.readline() == f"{number.name}: saving and leaving\n"


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,) * 2])
def test_a_second_signal_leaves_at_once(numbers: tuple[signal.Signals, ...]) -> None:
    child = started(SCRIPT)
    try:
        time.sleep(0.2)
        stop(child, numbers[0])
        child.send_signal(numbers[1])  # that of a group, which comes with the first
        time.sleep(1.5)
        assert child.poll() is None
        child.send_signal(numbers[1])
        assert child.wait(20) == 75
    finally:
        child.kill()
        child.communicate()


TAKEN = SCRIPT.replace(
    "with StopSignals():",
    """
from jaxbert.runtime.signal_listener import taken
taken.set()
with StopSignals():""",
)


def test_a_machine_that_is_taken_is_told_so_again_and_goes_on_saving() -> None:
    child = started(TAKEN)
    try:
        time.sleep(0.2)
        stop(child, signal.SIGTERM)
        time.sleep(1.5)
        child.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)  # a person's
        assert child.wait(20) == 75
    finally:
        child.kill()
        child.communicate()


def test_a_signal_that_comes_at_the_end_is_passed_on() -> None:
    code = """
import os, signal, time
from jaxbert.runtime.signal_listener import LeaveAtOnce
from jaxbert.runtime.stop_signals import StopSignals
with LeaveAtOnce():
    with StopSignals() as signals:
        print("ready", flush=True)
        while not signals.caught:
            time.sleep(0.05)
        time.sleep(1)  # what it says of the signal comes from another thread
        signals.goes_on = True
    print("went on", flush=True)
"""
    child = started(code)
    stop(child, signal.SIGTERM)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 75
    assert "went on" not in out
    assert "leaving between steps" in err


def wait_until_caught(signals: StopSignals) -> None:
    end = time.monotonic() + 10
    while not signals.caught and time.monotonic() < end:
        time.sleep(0.01)
    assert signals.caught


@pytest.fixture
def cell() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as it does while IPython runs a cell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.usefixtures("cell")
def test_a_cell_is_interrupted_without_an_exception_and_then_as_before() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    loop = signal.set_wakeup_fd(writer)  # the kernel's event loop has one
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        wait_until_caught(signals)
    assert signal.set_wakeup_fd(loop) == writer
    os.close(reader)
    os.close(writer)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 75)], ids=["SIGINT", "SIGTERM"]
)
def test_a_second_interrupt_leaves_the_kernel_alive(number: signal.Signals, status: int) -> None:
    child = started(KERNEL)
    try:
        stop(child, signal.SIGINT)
        time.sleep(1.5)
        child.send_signal(number)
        time.sleep(0.3)
        assert child.communicate("\n", timeout=20)[0] == "alive\n" * (status == 0)
        assert child.returncode == status
    finally:
        child.kill()
        child.communicate()


def test_in_another_thread_signals_are_left_alone() -> None:
    found: list[object] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with StopSignals() as signals:
            found.extend([signal.getsignal(signal.SIGINT) is before, signals.caught])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True, False]
