"""Devices: the only file that names them. One step body under jit, under pmap, or under jit with
sharded arrays."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxbert.data.sampling import NumpyBatch
from jaxbert.errors import InputError

Backend = Literal["auto", "pmap", "jit"]
AXIS = "devices"
T = TypeVar("T")


class Parallel(NamedTuple):
    """How steps and arrays are spread over the local devices.

    Attributes:
        name: "pmap" or "jit".
        devices: how many there are, of all processes.
        processes: how many there are.
        axis_name: for psum inside the step; None where arrays are global.
        replicate: a tree of host arrays -> the same on every device.
        fetch: the reverse: one copy, as numpy arrays that nothing else refers to.
        shard: a batch (A, B, ...) -> on the devices, each with its part of B. Of several processes
            each takes what its own devices need.
        compile_train: (state, batch, key) -> ... with the state donated.
        compile_predict: (params, batch) -> outputs; batches and outputs have no axis A.
        shard_predict: a batch (B, ...) -> on the devices.
        gather: outputs of prediction -> numpy arrays (B, ...).
    """

    name: str
    devices: int
    processes: int
    axis_name: str | None
    replicate: Callable[[Any], Any]
    fetch: Callable[[Any], Any]
    shard: Callable[[NumpyBatch], Any]
    compile_train: Callable[[Callable[..., Any]], Callable[..., Any]]
    compile_predict: Callable[[Callable[..., Any]], Callable[..., Any]]
    shard_predict: Callable[[NumpyBatch], Any]
    gather: Callable[[Any], dict[str, np.ndarray]]


def make_parallel(backend: Backend = "auto", devices: list[jax.Device] | None = None) -> Parallel:
    """The backend of that name on all devices; auto is pmap on several, jit on one.

    Several processes go by jit, whose arrays lie over all of them.

    pmap is in maintenance mode in JAX (it is jit and shard_map underneath since 0.8); both backends
    give equal results, and a test holds them equal.
    """
    devices = jax.devices() if devices is None else devices
    if any(device.process_index != jax.process_index() for device in devices):
        if backend == "pmap":
            raise InputError("--parallel pmap is for one process; give jit for several")
        backend = "jit"
    elif backend == "auto":
        backend = "pmap" if len(devices) > 1 else "jit"
    return _pmap(devices) if backend == "pmap" else _jit(devices)


def _copy(x: Any) -> np.ndarray:
    return np.array(x)  # a copy: on a CPU np.asarray would be a view of memory that is donated


def _pmap(devices: list[jax.Device]) -> Parallel:
    count = len(devices)
    # One copy a device, made by a compiled identity: device_put_replicated is gone in JAX 0.10.
    # The axis has the name that it has in the steps: else the first step's state has another
    # sharding than the second's, and the step is compiled twice.
    spread = jax.pmap(lambda _, tree: tree, axis_name=AXIS, in_axes=(0, None), devices=devices)

    parted = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))

    def shard(batch: NumpyBatch) -> Any:
        # (A, B, ...) -> (devices, A, B / devices, ...)
        split = {
            n: np.swapaxes(x.reshape(x.shape[0], count, -1, *x.shape[2:]), 0, 1)
            for n, x in batch.items()
        }
        return jax.device_put(split, parted)

    def first(x: Any) -> np.ndarray:
        # x[0] would start a program on all devices; every shard is whole, so read one.
        return _copy(x.addressable_shards[0].data)[0]

    return Parallel(
        name="pmap",
        devices=count,
        processes=1,
        axis_name=AXIS,
        replicate=lambda tree: spread(np.zeros(count), tree),
        fetch=lambda tree: jax.tree.map(first, tree),
        shard=shard,
        compile_train=lambda step: jax.pmap(
            step, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=(0,), devices=devices
        ),
        compile_predict=lambda step: jax.pmap(step, devices=devices),
        shard_predict=lambda batch: {
            n: x.reshape(count, -1, *x.shape[1:]) for n, x in batch.items()
        },
        gather=lambda out: {n: np.asarray(x).reshape(-1, *x.shape[2:]) for n, x in out.items()},
    )


def _jit(devices: list[jax.Device]) -> Parallel:
    mesh = Mesh(np.array(devices), (AXIS,))
    whole = NamedSharding(mesh, PartitionSpec())
    parted = NamedSharding(mesh, PartitionSpec(None, AXIS))
    rows = NamedSharding(mesh, PartitionSpec(AXIS))
    processes = len({device.process_index for device in devices})

    def spread(x: Any) -> jax.Array:
        x = np.array(x)
        return jax.make_array_from_callback(x.shape, whole, lambda index: x[index])

    def put(batch: NumpyBatch, places: NamedSharding, axis: int) -> Any:
        if processes == 1:
            return jax.device_put(batch, places)

        def own(x: np.ndarray) -> jax.Array:
            part = np.split(x, processes, axis)[jax.process_index()]
            return jax.make_array_from_process_local_data(places, part, x.shape)

        return {n: own(x) for n, x in batch.items()}

    return Parallel(
        name="jit",
        devices=len(devices),
        processes=processes,
        axis_name=None,
        replicate=lambda tree: jax.tree.map(spread, tree),
        fetch=lambda tree: jax.tree.map(lambda x: _copy(x.addressable_data(0)), tree),
        shard=lambda batch: put(batch, parted, 1),
        compile_train=lambda step: jax.jit(step, donate_argnums=(0,), out_shardings=(whole, whole)),
        compile_predict=lambda step: jax.jit(step, out_shardings=whole),
        shard_predict=lambda batch: put(batch, rows, 0),
        gather=lambda out: {n: np.asarray(x) for n, x in out.items()},
    )


def rows_for(rows: int, parallel: Parallel, accumulate: int = 1) -> int:
    """`rows` of a global batch, which must divide over devices and micro-batches.

    Raises:
        InputError: it does not.
    """
    if rows % (parallel.devices * accumulate):
        raise InputError(
            f"a batch of {rows} rows cannot be split over {parallel.devices} devices and "
            f"{accumulate} accumulation steps; choose a batch size that is a multiple, or go on "
            "with as many devices as the run was started with"
        )
    return rows


def prefetch(batches: Iterable[T], put: Callable[[T], Any], ahead: int = 2) -> Iterator[Any]:
    """put(batch) for each batch, started `ahead` batches before it is asked for."""
    queue: collections.deque[Any] = collections.deque()
    for batch in batches:
        queue.append(put(batch))
        if len(queue) > ahead:
            yield queue.popleft()
    yield from queue
