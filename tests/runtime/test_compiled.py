"""The folder of compiled programs: private, and used by a second process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jaxbert.errors import InputError
from jaxbert.runtime.compiled import keep_compiled

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
import jax
from jaxbert.runtime.compiled import keep_compiled

keep_compiled(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.monitoring.register_event_listener(lambda name, **more: print(name))
jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((8, 8)))
"""


def run(folder: Path) -> str:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "compiled"
    assert "cache_hits" not in run(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert any(folder.iterdir())
    again = run(folder)
    assert "cache_hits" in again
    assert "cache_misses" not in again


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(InputError, match=r"others can write programs there .* chmod go-w"):
        keep_compiled(str(folder))


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be made \(File exists\)"):
        keep_compiled(str(tmp_path / "file"))
