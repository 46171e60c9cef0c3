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
        platform = jax.default_backend()
        if platform == "tpu":
            return cls("tpu")
        if platform in ("gpu", "cuda", "rocm"):
            return cls("gpu", _capability(jax.local_devices()[0]))
        return cls("cpu")


def _capability(device: jax.Device) -> int | None:
    """NVIDIA's devices have "9.0"; AMD's have a name of another kind, such as "gfx90a"."""
    major, _, minor = str(getattr(device, "compute_capability", "")).partition(".")
    return 10 * int(major) + int(minor) if major.isdigit() and minor.isdigit() else None
