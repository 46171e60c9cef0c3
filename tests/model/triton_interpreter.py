"""Runs the Triton kernels operation by operation on a CPU, by Triton's interpreter.

That is on where TRITON_INTERPRET=1 when triton is imported; see tests/conftest.py.
"""

from __future__ import annotations

import threading

import jax
import ml_dtypes
import numpy as np

from jaxbert.model.kernel_launch import KernelCall, kernel_named

# Triton's interpreter puts its own functions in the language's place while it runs.
_ALONE = threading.Lock()


class Interpreted:
    """A Launch for CPUs."""

    capability = 90

    def __call__(self, call: KernelCall) -> list[jax.Array]:
        import torch

        function = kernel_named(call.kernel)

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            values = [np.array(x) for x in arrays]
            values += [np.full(x.shape, np.nan, x.dtype) for x in call.outputs]
            tensors = []
            for x in values:
                bfloat16 = x.dtype == ml_dtypes.bfloat16
                tensor = torch.from_numpy(x.view(np.int16) if bfloat16 else x)
                tensors.append(tensor.view(torch.bfloat16) if bfloat16 else tensor)
            with _ALONE, np.errstate(over="ignore"):  # hashes overflow
                function[call.grid](*tensors, **call.constants)
            return values[len(arrays) :]

        made: list[jax.Array] = jax.pure_callback(run, list(call.outputs), *call.inputs)
        return made
