"""Pictures by matplotlib, where it is installed (extra `plot`)."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from jaxbert.io.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("jaxbert")


def new_figure(name: str, width: float, height: float) -> Figure | None:
    """An empty figure, in inches; None, which is logged, where matplotlib is not installed.

    Args:
        name: of the picture, for the message.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logger.info('no %s: matplotlib is not installed; pip install -e ".[plot]"', name)
        return None
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write it as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, dpi=150, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
