"""Compiled programs kept on disk, so that a run's second start is quick."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from jaxbert.errors import InputError


def keep_compiled(folder: str | None) -> None:
    """Let JAX keep what it compiles in a folder, which is made if it is not there (mode 0700).

    Programs found there are executed, so nobody else may be able to write them.

    Raises:
        InputError: the folder cannot be made, is somebody else's, or can be written by others.
    """
    if not folder:
        return
    path = Path(folder).expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise InputError(
            f"--compilation_cache_dir {folder}: cannot be made ({error.strerror}); give a folder"
        ) from None
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InputError(
            f"--compilation_cache_dir {folder}: others can write programs there that would be "
            f"executed; give a folder of your own, or chmod go-w {folder}"
        )
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
