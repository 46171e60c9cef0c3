"""Kernels on several devices that share the rows of one program, which XLA cannot divide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
from jax.sharding import Mesh, PartitionSpec

Rows = TypeVar("Rows")
Whole = TypeVar("Whole")
Result = TypeVar("Result")


def by_rows(
    compute: Callable[[Rows, Whole], Result], mesh: Mesh | None, rows: Rows, whole: Whole
) -> Result:
    """compute(rows, whole), of which each device is given its part of the rows.

    Args:
        mesh: of the devices, over its only axis; None for one device, or inside pmap.
        rows: arrays (B, ...). The first axis of each array of the result is parted in the same way.
        whole: arrays that each device has.
    """
    if mesh is None:
        return compute(rows, whole)
    (axis,) = mesh.axis_names
    by_row, not_parted = PartitionSpec(axis), PartitionSpec()
    specs = jax.tree.map(lambda _: by_row, rows), jax.tree.map(lambda _: not_parted, whole)
    parted = jax.shard_map(compute, mesh=mesh, in_specs=specs, out_specs=by_row, check_vma=False)
    return parted(rows, whole)
