"""A device whose memory runs out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from jaxbert.errors import InputError
from jaxbert.runtime.device_memory import memory_is_told


def test_a_device_without_memory_is_told_in_one_line() -> None:
    said = r"training: the device's memory ran out \(\d+ bytes were wanted\); fewer rows take less"
    with pytest.raises(InputError, match=said), memory_is_told("training", "fewer rows take less"):
        jax.block_until_ready(jnp.zeros(2**43))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), memory_is_told("training", "fewer rows take less"):
        1 / 0  # noqa: B018
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: x"),
        memory_is_told("training", "fewer rows take less"),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: x")
