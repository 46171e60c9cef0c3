"""What eval/score.py reads, and where it says what is odd."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError


def warn(line: str) -> None:
    """What is odd, on standard error: other programs read the scores on standard output."""
    print(f"warning: {line}", file=sys.stderr)


def read_json(path: str) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it is missing, or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
