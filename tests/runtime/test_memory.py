"""Freed memory is kept, and given back when little is left; in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jaxbert.runtime import memory

PROGRAM = """
import numpy as np
from jaxbert.runtime import memory
memory.keep_freed()

def held():
    block = np.ones(256 << 17)  # 256 MiB
    del block
    return memory._held()

kept = held()
memory._left = lambda: 0
print(kept > 256 << 20, memory.give_back_if_scarce(), memory._held() < kept - (200 << 20))
memory._left = lambda: 1 << 60
print(held() > 256 << 20, memory.give_back_if_scarce())
"""


@pytest.mark.skipif(not memory._GLIBC, reason="only glibc has it")
def test_freed_memory_is_kept_until_it_is_scarce() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["True", "True", "True", "True", "False"]


@pytest.mark.skipif(not memory._GLIBC, reason="only glibc has it")
def test_what_is_left_is_a_size() -> None:
    left = memory._left()
    assert left is not None
    assert 0 < left < 1 << 50
