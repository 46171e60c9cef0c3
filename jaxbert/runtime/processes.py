"""Several processes of one run, each with its own devices: joining, telling, and signs of life.

All of them compute the same steps; the first alone reads and writes the output directory, and
tells the others what it found there.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.runtime.signal_listener import EXIT_STOPPED, leave_now

T = TypeVar("T")
Tree = TypeVar("Tree")  # of arrays

# A process that says nothing for this number of seconds is taken for dead, and the others end.
_SILENCE = 30
# The file that python -m jaxbert.launch watches, one for each process.
_HEARTBEAT = "JAXBERT_HEARTBEAT_FILE"
_JOB = "JAXBERT_JOB"


def join(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Become one of several processes, as the options say or SLURM, Open MPI or a TPU pod does.

    It is called before any array is made; a second call does nothing.

    Raises:
        InputError: only some of the three are given, or a cluster does not tell where they meet.
        ConnectionError: the others were not met; another try may meet them.
    """
    given = (coordinator_address, num_processes, process_id)
    if jax.distributed.is_initialized():
        return
    if all(value is None for value in given):
        if not _detected():
            return
    elif any(value is None for value in given):
        raise InputError("--coordinator_address, --num_processes and --process_id go together")
    elif num_processes == 1:
        return
    elif num_processes is not None and not 0 <= (process_id or 0) < num_processes:
        raise InputError(f"--process_id {process_id}: there are 0 to {num_processes - 1}")
    # JAX would note SIGTERM in a handler of its own; the training loop has one, for SIGINT too.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=_SILENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConnectionError(f"the processes of the run did not meet: {reason}") from None
    if not is_first():  # one of them is enough to tell how it goes
        logging.getLogger("jaxbert").setLevel(logging.CRITICAL)


# The variables that a process of SLURM or Open MPI has; the first is their number. A batch script
# outside of srun has some of SLURM's, but is one process.
_CLUSTERS = (
    ("SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
)
_OPEN_MPI = "OMPI_COMM_WORLD_SIZE"
_OPEN_MPI_ADDRESS = "OMPI_MCA_orte_hnp_uri"  # Open MPI 5 has none


def _detected() -> bool:
    """Whether a cluster that JAX knows has started several processes."""
    for names in _CLUSTERS:
        count = os.environ.get(names[0], "")
        if count.isdecimal() and int(count) > 1 and all(name in os.environ for name in names):
            if names[0] == _OPEN_MPI and _OPEN_MPI_ADDRESS not in os.environ:
                raise InputError(
                    "this Open MPI does not say where its processes meet; start them by bash -c "
                    "'... --coordinator_address HOST:PORT --num_processes $OMPI_COMM_WORLD_SIZE "
                    "--process_id $OMPI_COMM_WORLD_RANK' with the first process's host"
                )
            return True
    # For TPUs JAX has no public question; on other machines these say no without a network.
    from jax._src.clusters import GceTpuCluster, GkeTpuCluster

    try:
        pods = (GkeTpuCluster, GceTpuCluster)
        return any(pod.is_env_present() and pod.get_process_count() > 1 for pod in pods)
    except OSError as error:  # a TPU without the service that tells of the others
        logging.getLogger("jaxbert").warning("one process: %s", error)
        return False


def is_first() -> bool:
    """Whether this process writes what a run writes; true where there is one."""
    return jax.process_index() == 0


def from_first(make: Callable[[], T]) -> T:
    """make() of the first process, JSON, in all of them.

    Raises:
        InputError: make() raised it there; so all end alike.
    """
    if jax.process_count() == 1:
        return make()
    result: dict[str, T | str] = {}
    if is_first():
        try:
            result = {"value": make()}
        except InputError as error:
            result = {"error": str(error)}
    text = np.frombuffer(json.dumps(result).encode(), np.uint8)
    size = multihost_utils.broadcast_one_to_all(np.int32(len(text)))
    text = text if is_first() else np.zeros(int(size), np.uint8)
    of_first = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(text))))
    if "error" in of_first:
        raise InputError(of_first["error"])
    value: T = of_first["value"]
    return value


def arrays_from_first(tree: Tree) -> Tree:
    """The first process's arrays in all of them, to the last bit; shapes and dtypes are equal."""
    if jax.process_count() == 1:
        return tree

    def share(x: np.ndarray | jax.Array) -> np.ndarray:
        x = np.asarray(x)
        # As bytes: they are added up with the zeros of the others, and -0.0 + 0.0 is 0.0.
        raw = multihost_utils.broadcast_one_to_all(x.reshape(-1).view(np.uint8))
        return np.array(raw).view(x.dtype).reshape(x.shape)

    shared: Tree = jax.tree.map(share, tree)
    return shared


def check_alike(what: str, value: Json) -> None:
    """Refuse to go on when the processes do not agree.

    Raises:
        InputError: in a process that has another value than the first.
    """
    if from_first(lambda: value) != value:
        raise InputError(f"process {jax.process_index()} has {what} unlike those of process 0")


def host_name() -> str:
    """The name of this machine, which its processes have in common."""
    return platform.node()


@functools.cache
def hosts() -> int:
    """How many machines the processes of the run are on; all of them ask at the same time."""
    if jax.process_count() == 1:
        return 1
    name = np.uint32(zlib.crc32(host_name().encode()))
    return len(np.unique(multihost_utils.process_allgather(name)))


def several() -> bool:
    """Whether this process is one of several."""
    return bool(jax.distributed.is_initialized())


def leave(status: int) -> None:
    """End a process that has failed, if it is one of several: at its exit JAX would wait for the
    others, and they for what it computes."""
    if status not in (0, EXIT_STOPPED) and several():
        sys.stdout.flush()
        sys.stderr.flush()
        leave_now(status)


def job() -> str | None:
    """The launcher's name for all starts of this job."""
    return os.environ.get(_JOB)


def launched() -> bool:
    """Whether python -m jaxbert.launch looks after this process."""
    return _HEARTBEAT in os.environ


def beat() -> None:
    """Tell the launcher, if there is one, that this process goes on."""
    if launched():
        Path(os.environ[_HEARTBEAT]).touch()
