"""What a program is compiled for: the devices that are here, or others that are only described."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import jax

Platform = Literal["cpu", "gpu", "tpu"]


class Target(NamedTuple):
    """A kind of device.

    Attributes:
        platform: "cpu", "gpu" or "tpu".
        capability: of an NVIDIA card 80 for 8.0 and so on; None for other devices.
    """

    platform: Platform
    capability: int | None = None

    @classmethod
    def here(cls) -> Self:
        """The default devices of this process."""
        device = jax.local_devices()[0]
        return cls.of(jax.default_backend(), str(getattr(device, "compute_capability", "")))

    @classmethod
    def of(cls, platform: str, capability: str) -> Self:
        """A device by what JAX says of it.

        Args:
            platform: "cpu", "gpu", "cuda", "rocm" or "tpu".
            capability: NVIDIA's have "9.0"; AMD's a name of another kind, such as "gfx90a".
        """
        if platform == "tpu":
            return cls("tpu")
        if platform not in ("gpu", "cuda", "rocm"):
            return cls("cpu")
        major, _, minor = capability.partition(".")
        is_number = major.isdigit() and minor.isdigit()
        return cls("gpu", 10 * int(major) + int(minor) if is_number else None)
