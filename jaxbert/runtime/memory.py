"""Memory on the host: freed buffers are kept for the next step, as long as there is room.

XLA allocates new buffers for every step on a CPU, and by default each comes from the system as
untouched pages, which the system has to fault in and clear. The price of keeping them is a larger
heap, since each padded length leaves holes of its own; so it is given back when memory is scarce.
Elsewhere than on Linux with glibc nothing here does anything.
"""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

_GLIBC = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"

# From malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD.
_SETTINGS = ((-8, 1), (-4, 0), (-2, 256 << 20), (-1, -1))


def keep_freed() -> None:
    """Keep what is freed in the process, from now on; for scripts, not for a library's import."""
    if _GLIBC:
        libc = ctypes.CDLL(None)
        for parameter, value in _SETTINGS:
            libc.mallopt(parameter, value)


def give_back_if_scarce() -> bool:
    """Give freed memory back to the system when less is left than the process holds.

    What a step needs more than the one before is less than what is held; so it is there.
    """
    if not _GLIBC or (left := _left()) is None or left > _held():
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def _held() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _left() -> int | None:
    """Bytes that can still be had, of the machine or of the container; None if nothing tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) << 10 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return free
