"""The most memory that was resident, for tests that it stays bounded."""

from __future__ import annotations

import re
from pathlib import Path


def peak() -> int:
    """The most resident bytes of this process since the last call; 0 where no system tells."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) << 10 if found else 0
