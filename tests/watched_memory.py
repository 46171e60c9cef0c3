"""The memory of a command's processes together, each second while it runs."""

from __future__ import annotations

import re
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Watched(NamedTuple):
    """What a command took: seconds of the processors, its memory over time, and what it said."""

    processor: float
    samples: list[Sample]
    lines: list[str]

    def parted(self, words: str) -> tuple[list[Sample], list[Sample]]:
        """The samples before and after the first line that has these words."""
        said = next(n for n, line in enumerate(self.lines) if words in line)
        place = next(n for n, sample in enumerate(self.samples) if sample.lines > said)
        return self.samples[:place], self.samples[place:]


class Sample(NamedTuple):
    """The memory of a tree of processes at a time: what several share is counted once.

    Attributes:
        seconds: since the command began.
        whole: bytes, proportional (PSS).
        own: of these, those that are no file's.
        lines: of the log, so far.
    """

    seconds: float
    whole: int
    own: int
    lines: int


def watched(command: Sequence[str], every: float = 1.0) -> Watched:
    """Run a command and sample its memory.

    Raises:
        RuntimeError: it failed.
    """
    began, before = time.perf_counter(), _processor()
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, stdout=pipe, stderr=both, text=True)
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    samples = []
    while process.poll() is None:
        trees = [_memory_of(pid) for pid in _tree(process.pid)]
        whole, own = (sum(each) for each in zip((0, 0), *trees, strict=True))
        samples.append(Sample(time.perf_counter() - began, whole, own, len(lines)))
        time.sleep(every)
    reader.join()
    if process.returncode:
        raise RuntimeError("\n".join([" ".join(command), *lines[-20:]]))
    samples.append(samples[-1]._replace(seconds=time.perf_counter() - began))
    return Watched(_processor() - before, samples, lines)


def _processor() -> float:
    """Seconds that the processes that have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _tree(root: int) -> list[int]:
    """A process and all that it began, and these, ..."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _memory_of(pid: int) -> tuple[int, int]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0, 0
    kb = {name: int(value) for name, value in re.findall(r"^(Pss\w*):\s+(\d+) kB", text, re.M)}
    return kb.get("Pss", 0) << 10, kb.get("Pss_Anon", 0) << 10
