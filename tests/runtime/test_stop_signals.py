"""Signals come through at once, whatever the main thread is computing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from scripts import environment

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


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,) * 2])
def test_a_second_signal_leaves_at_once(numbers: tuple[signal.Signals, ...]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        child.send_signal(numbers[0])
        assert child.stderr.readline() == "\n"
        assert child.stderr.readline() == f"{numbers[0].name}: saving and leaving\n"
        child.send_signal(numbers[1])  # that of a group, which comes with the first
        time.sleep(1.5)
        assert child.poll() is None
        child.send_signal(numbers[1])
        assert child.wait(20) == 75
    finally:
        child.kill()
        child.communicate()
