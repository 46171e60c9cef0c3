"""Predictions files against references: what eval/score.py calls."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from jaxbert.data.questions import read_qa
from jaxbert.errors import InputError
from jaxbert.tasks import references_of, score_qa


def score_files(
    metric: str, predictions: str | None, references: str | None, null_odds: str | None = None
) -> dict[str, float]:
    """The official scores of a predictions file.

    Args:
        metric: squad, squad_v2 or cmrc2018.
        predictions: path of JSON {question id: answer text}.
        references: path of the data set.
        null_odds: path of JSON {question id: number}, for the best thresholds of squad_v2.

    Raises:
        InputError: a file is missing or of another form, or no prediction is for any reference.
    """
    if not predictions or not references:
        raise InputError("give --predictions and --references, two files")
    given = _mapping(predictions, str)
    odds = _mapping(null_odds, (int, float)) if null_odds else None
    wanted = references_of(read_qa([references]).examples)
    if not given.keys() & wanted.keys():
        raise InputError(
            f"{predictions}: none of its {len(given)} ids is in {references}; "
            "are they of the same data set?"
        )
    if metric == "squad_v2" and wanted.keys() - given.keys():
        missing = sorted(wanted.keys() - given.keys())
        raise InputError(
            f"{predictions}: no prediction for {len(missing)} ids, the first {missing[0]}; "
            "the score of SQuAD v2.0 needs one for every question"
        )
    bare = next((name for name, texts in wanted.items() if not texts), None)
    if metric != "squad_v2" and bare is not None:
        raise InputError(
            f"{references}: question {bare} has no answer; is --metric squad_v2 meant?"
        )
    if odds is not None and wanted.keys() - odds.keys():
        missing = sorted(wanted.keys() - odds.keys())
        raise InputError(f"{null_odds}: no odds for {len(missing)} ids, the first {missing[0]}")
    return score_qa(metric, given, wanted, odds)


def _mapping(path: str, kind: Any) -> dict[str, Any]:
    """A JSON object whose values are all of that kind."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object {{id: ...}}, found {type(content).__name__}")
    for name, value in content.items():
        wrong = isinstance(value, bool) or not isinstance(value, kind)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f"{path}: the value of id {name} is {value!r}")
    return content
