"""Devices: the only file that names them. One step body under jit, under pmap, or under jit with
sharded arrays."""

from __future__ import annotations

import abc
import collections
import functools
import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxbert.data.batch import Batch
from jaxbert.data.sampling import NumpyBatch
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.model.heads import Params
from jaxbert.runtime.compiler_options import compiler_options
from jaxbert.runtime.target import Platform, Target
from jaxbert.training.step import PredictStep, TrainState, TrainStep

logger = logging.getLogger("jaxbert")

Backend = Literal["auto", "pmap", "jit"]
AXIS = "devices"
T = TypeVar("T")
U = TypeVar("U")
Tree = TypeVar("Tree")


class CompiledStep(Protocol):
    """A training step that is compiled when it is called, or before."""

    def __call__(
        self, state: TrainState, batch: Batch[jax.Array], key: jax.Array, /
    ) -> tuple[TrainState, Arrays]: ...

    def lower(
        self, state: TrainState, batch: Batch[jax.Array], key: jax.Array, /
    ) -> jax.stages.Lowered: ...


@runtime_checkable
class Traceable(Protocol):
    """A step of jit; where the compiler has options, it cannot be part of another function."""

    def trace(
        self, state: TrainState, batch: Batch[jax.Array], key: jax.Array, /
    ) -> jax.stages.Traced: ...


class Parallel(abc.ABC):
    """How steps and arrays are spread over the devices.

    Attributes:
        name: "pmap" or "jit".
        axis_name: for psum inside the step; None where arrays are global.
        devices: how many there are, of all processes.
        processes: how many there are.
        mesh: of the devices that one program is divided among; None where each has a program.
    """

    name: ClassVar[str]
    axis_name: ClassVar[str | None]
    mesh: Mesh | None = None

    def __init__(self, devices: list[jax.Device]) -> None:
        self.devices = len(devices)
        self.processes = len({device.process_index for device in devices})

    @abc.abstractmethod
    def replicate(self, tree: Tree) -> Tree:
        """A tree of host arrays, the same on every device."""

    def spread(self, state: TrainState) -> TrainState:
        """A state of host arrays on the devices, as the compiled step takes it."""
        return self.replicate(state)

    def whole(self, tree: Tree) -> Tree:
        """A part of a state on the devices, the same on every one of them."""
        return tree

    def placed(self, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        """The optimizer as the step computes it: it may be divided among the devices."""
        return tx

    @abc.abstractmethod
    def fetch(self, tree: Tree) -> Tree:
        """The reverse: one copy, as numpy arrays that nothing else refers to."""

    @abc.abstractmethod
    def shard(self, batch: NumpyBatch) -> Batch[jax.Array]:
        """A batch (A, B, ...) on the devices, each with its part of B. Of several processes each
        takes what its own devices need."""

    @abc.abstractmethod
    def compile_train(self, step: TrainStep) -> CompiledStep:
        """The step compiled; it takes the state's memory for the state that it returns."""

    @abc.abstractmethod
    def described(
        self, state: TrainState, batch: NumpyBatch
    ) -> tuple[TrainState, Batch[jax.Array]]:
        """A state's and a batch's shapes as the compiled step takes them, without any values."""

    @abc.abstractmethod
    def compile_predict(self, step: PredictStep) -> PredictStep:
        """The step compiled; its batches and outputs have no axis A."""

    @abc.abstractmethod
    def shard_predict(self, batch: NumpyBatch) -> Batch[jax.Array]:
        """A batch (B, ...) on the devices, each with its part of B."""

    @abc.abstractmethod
    def gather(self, outputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs of prediction as numpy arrays (B, ...)."""


def make_parallel(
    backend: Backend = "auto",
    devices: list[jax.Device] | None = None,
    *,
    shard_optimizer: bool = False,
) -> Parallel:
    """The backend of that name on all devices; auto is pmap on several, jit on one.

    Several processes go by jit, whose arrays lie over all of them, and so do GPUs: pmap takes no
    options of the compiler, which equal bits need there.

    pmap is in maintenance mode in JAX (it is jit and shard_map underneath since 0.8); both backends
    give equal results, and a test holds them equal. When it goes, so does _Pmap, and auto is jit.

    Args:
        shard_optimizer: each device has a part of the optimizer's state, which goes by jit.

    Raises:
        InputError: pmap cannot do what is asked for.
    """
    devices = jax.devices() if devices is None else devices
    if shard_optimizer:
        if backend == "pmap":
            raise InputError("--shard_optimizer goes by jit; leave --parallel pmap out")
        return _Sharded(devices)
    if any(device.process_index != jax.process_index() for device in devices):
        if backend == "pmap":
            raise InputError("--parallel pmap is for one process; give jit for several")
        backend = "jit"
    elif backend == "auto":
        backend = "pmap" if len(devices) > 1 and _platform(devices) != "gpu" else "jit"
    if backend == "pmap" and _platform(devices) == "gpu":
        logger.warning(
            "with --parallel pmap a GPU's sums may have other bits on each run; jit is exact"
        )
    return _Pmap(devices) if backend == "pmap" else _Jit(devices)


def _platform(devices: list[jax.Device]) -> Platform:
    return Target.of(devices[0].platform, "").platform


def _copy(x: jax.Array | np.ndarray) -> np.ndarray:
    return np.array(x)  # a copy: on a CPU np.asarray would be a view of memory that is donated


def _on_devices(x: jax.Array | np.ndarray, place: NamedSharding) -> jax.Array:
    x = np.array(x)
    return jax.make_array_from_callback(x.shape, place, lambda index: x[index])


class _Pmap(Parallel):
    """Every array has a first axis of the devices."""

    name, axis_name = "pmap", AXIS

    def __init__(self, devices: list[jax.Device]) -> None:
        super().__init__(devices)
        self._devices = devices
        # One copy a device, made by a compiled identity: device_put_replicated is gone in JAX 0.10.
        # The axis has the name that it has in the steps: else the first step's state has another
        # sharding than the second's, and the step is compiled twice.
        self._spread = jax.pmap(
            lambda _, tree: tree, axis_name=AXIS, in_axes=(0, None), devices=devices
        )
        self._parted = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))

    def replicate(self, tree: Tree) -> Tree:
        spread: Tree = self._spread(np.zeros(self.devices), tree)
        return spread

    def fetch(self, tree: Tree) -> Tree:
        # x[0] would start a program on all devices; every shard is whole, so read one.
        return jax.tree.map(lambda x: _copy(x.addressable_shards[0].data)[0], tree)

    def shard(self, batch: NumpyBatch) -> Batch[jax.Array]:
        # (A, B, ...) -> (devices, A, B / devices, ...)
        split = {
            n: np.swapaxes(x.reshape(x.shape[0], self.devices, -1, *x.shape[2:]), 0, 1)
            for n, x in batch.items()
        }
        return jax.device_put(split, self._parted)

    def compile_train(self, step: TrainStep) -> CompiledStep:
        return jax.pmap(
            step, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=(0,), devices=self._devices
        )

    def described(
        self, state: TrainState, batch: NumpyBatch
    ) -> tuple[TrainState, Batch[jax.Array]]:
        def whole(x: jax.Array) -> jax.ShapeDtypeStruct:
            shape = (self.devices, *x.shape)
            return jax.ShapeDtypeStruct(shape, x.dtype, sharding=self._parted)

        def parted(x: np.ndarray) -> jax.ShapeDtypeStruct:
            shape = (self.devices, x.shape[0], x.shape[1] // self.devices, *x.shape[2:])
            return jax.ShapeDtypeStruct(shape, x.dtype, sharding=self._parted)

        columns, form = jax.tree.flatten(batch)
        return jax.tree.map(whole, state), jax.tree.unflatten(form, map(parted, columns))

    def compile_predict(self, step: PredictStep) -> PredictStep:
        return jax.pmap(step, devices=self._devices)

    def shard_predict(self, batch: NumpyBatch) -> Batch[jax.Array]:
        split = {n: x.reshape(self.devices, -1, *x.shape[1:]) for n, x in batch.items()}
        return jax.device_put(split, self._parted)

    def gather(self, outputs: Arrays) -> dict[str, np.ndarray]:
        return {n: np.asarray(x).reshape(-1, *x.shape[2:]) for n, x in outputs.items()}


class _Jit(Parallel):
    """Arrays are global: whole on every device, or parted over the axis of rows."""

    name, axis_name = "jit", None

    def __init__(self, devices: list[jax.Device]) -> None:
        super().__init__(devices)
        mesh = Mesh(np.array(devices), (AXIS,))
        self.mesh = mesh if len(devices) > 1 else None
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._parted = NamedSharding(mesh, PartitionSpec(None, AXIS))
        self._rows = NamedSharding(mesh, PartitionSpec(AXIS))
        self._options = compiler_options(_platform(devices))

    def replicate(self, tree: Tree) -> Tree:
        return jax.tree.map(lambda x: _on_devices(x, self._whole), tree)

    def fetch(self, tree: Tree) -> Tree:
        return jax.tree.map(lambda x: _copy(x.addressable_data(0)), tree)

    def shard(self, batch: NumpyBatch) -> Batch[jax.Array]:
        return self._put(batch, self._parted, 1)

    def _put(self, batch: NumpyBatch, places: NamedSharding, axis: int) -> Batch[jax.Array]:
        if self.processes == 1:
            return jax.device_put(batch, places)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(
                places, np.split(x, self.processes, axis)[jax.process_index()], x.shape
            ),
            batch,
        )

    def compile_train(self, step: TrainStep) -> CompiledStep:
        return jax.jit(
            step,
            donate_argnums=(0,),
            out_shardings=(self._whole, self._whole),
            compiler_options=self._options,
        )

    def described(
        self, state: TrainState, batch: NumpyBatch
    ) -> tuple[TrainState, Batch[jax.Array]]:
        def whole(x: jax.Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._whole)

        def parted(x: np.ndarray) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._parted)

        columns, form = jax.tree.flatten(batch)
        return jax.tree.map(whole, state), jax.tree.unflatten(form, map(parted, columns))

    def compile_predict(self, step: PredictStep) -> PredictStep:
        return jax.jit(step, out_shardings=self._whole, compiler_options=self._options)

    def shard_predict(self, batch: NumpyBatch) -> Batch[jax.Array]:
        return self._put(batch, self._rows, 0)

    def gather(self, outputs: Arrays) -> dict[str, np.ndarray]:
        return {n: np.asarray(x) for n, x in outputs.items()}


class _Sharded(_Jit):
    """The optimizer's state is divided among the devices (Rajbhandari et al. 2020, stage 1).

    Each array of it is parted over its largest axis that the number of devices divides, and whole
    where there is none. The gradients are whole on every device, and so is their norm. A device
    updates the part of the parameters whose state it has; then these are gathered.
    """

    def _place(self, x: jax.Array | np.ndarray | jax.ShapeDtypeStruct) -> NamedSharding:
        sizes = [size if size % self.devices == 0 else 0 for size in x.shape]
        if self.devices == 1 or not any(sizes):
            return self._whole
        axis = sizes.index(max(sizes))
        return NamedSharding(self._whole.mesh, PartitionSpec(*[None] * axis, AXIS))

    def _places(self, state: TrainState) -> TrainState:
        """The sharding of each array of a state."""
        whole = jax.tree.map(lambda _: self._whole, state)
        return whole._replace(opt_state=jax.tree.map(self._place, state.opt_state))

    def spread(self, state: TrainState) -> TrainState:
        return jax.tree.map(_on_devices, state, self._places(state))

    def whole(self, tree: Tree) -> Tree:
        return jax.tree.map(self._gathered, tree)

    def _gathered(self, x: jax.Array) -> jax.Array:
        if x.sharding.is_equivalent_to(self._whole, x.ndim):
            return x
        gathered: jax.Array = jax.jit(_same, out_shardings=self._whole)(x)
        return gathered

    def fetch(self, tree: Tree) -> Tree:
        # One array after the other, so that a device never has all of them whole.
        return jax.tree.map(lambda x: _copy(self._gathered(x).addressable_data(0)), tree)

    def placed(self, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        inner = optax.with_extra_args_support(tx)

        def update(
            updates: optax.Updates,
            state: optax.OptState,
            params: Params | None = None,
            **extra: jax.Array,
        ) -> tuple[optax.Updates, optax.OptState]:
            # Whole, so that the norm's sum has the order that it has without this.
            updates = jax.lax.with_sharding_constraint(updates, self._whole)
            updates, state = inner.update(updates, state, params, **extra)
            return (
                jax.lax.with_sharding_constraint(updates, jax.tree.map(self._place, updates)),
                jax.lax.with_sharding_constraint(state, jax.tree.map(self._place, state)),
            )

        return optax.GradientTransformationExtraArgs(tx.init, update)

    def compile_train(self, step: TrainStep) -> CompiledStep:
        def placed(
            state: TrainState, batch: Batch[jax.Array], key: jax.Array
        ) -> tuple[TrainState, Arrays]:
            state, metrics = step(state, batch, key)
            state = jax.lax.with_sharding_constraint(state, self._places(state))
            return state, jax.lax.with_sharding_constraint(metrics, self._whole)

        functools.update_wrapper(placed, step)
        return jax.jit(placed, donate_argnums=(0,), compiler_options=self._options)

    def described(
        self, state: TrainState, batch: NumpyBatch
    ) -> tuple[TrainState, Batch[jax.Array]]:
        _, parted = super().described(state, batch)
        described = jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            state,
            self._places(state),
        )
        return described, parted


def _same(x: jax.Array) -> jax.Array:
    return x


def prefetch(batches: Iterable[T], put: Callable[[T], U], ahead: int = 2) -> Generator[U]:
    """put(batch) for each batch, by a thread that is `ahead` batches before what is asked for.

    The device computes and the main thread starts the next step meanwhile. What making a batch or
    `put` raises is raised where that batch is asked for.
    """
    left = iter(batches)

    def make() -> tuple[U] | None:
        for batch in left:
            return (put(batch),)
        return None

    thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        queue = collections.deque(thread.submit(make) for _ in range(ahead))
        while (made := queue.popleft().result()) is not None:
            queue.append(thread.submit(make))
            yield made[0]
    finally:
        thread.shutdown(cancel_futures=True)
