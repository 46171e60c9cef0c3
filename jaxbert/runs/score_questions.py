"""Predictions files of questions against references: the official scores of eval/score.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from jaxbert.data.questions import Reference, read_references
from jaxbert.data.rows import Data, problem_lines
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.runs.scored_files import TextsById, read_json, read_predictions_file, warn
from jaxbert.tasks.qa import score_qa
from jaxbert.tasks.task import is_list

V = TypeVar("V", str, float)


def score_files(
    metric: str,
    predictions: str | None,
    references: str | None,
    null_odds: str | None = None,
    *,
    strict: bool = False,
) -> dict[str, float]:
    """The official scores of a predictions file.

    They are those of the references as they stand in the file, as the official script computes
    them; what is odd in it is named in warnings.

    Args:
        metric: squad, squad_v2 or cmrc2018.
        predictions: path of JSON {question id: answer text}.
        references: path of the data set.
        null_odds: path of JSON {question id: number}, for the best thresholds of squad_v2.
        strict: refuse references in which anything is odd.

    Raises:
        InputError: a file is missing or of another form, or no prediction is for any reference.
    """
    if not predictions or not references:
        raise InputError("give --predictions and --references, two files")
    content = read_predictions_file(predictions)
    if isinstance(content, TextsById):
        answers_by_id: Mapping[str, str] = content
    else:
        answers_by_id = _mapping(predictions, content, str)
    odds = _mapping(null_odds, read_json(null_odds), float) if null_odds else None
    data = read_references(references, strict=strict)
    if fault := next((problem for problem in data.problems if problem.malformed), None):
        raise InputError(f"{fault.where}: {fault.what}, and a score is of all questions")
    wanted = [(question.id, question.answers) for question in data.examples]
    if metric == "cmrc2018":  # its script strips the ids of the data set, and no others
        wanted = [(name.strip(), answers) for name, answers in wanted]
    names = dict.fromkeys(name for name, _ in wanted)
    if not any(name in answers_by_id for name in names):
        raise InputError(
            f"{predictions}: none of its {len(answers_by_id)} ids is in {references}; "
            "are they of the same data set?"
        )
    if metric == "squad_v2" and (missing := sorted(n for n in names if n not in answers_by_id)):
        raise InputError(
            f"{predictions}: no prediction for {len(missing)} ids, the first {missing[0]}; "
            "the score of SQuAD v2.0 needs one for every question"
        )
    bare = next((name for name, answers in wanted if not answers and name in answers_by_id), None)
    if metric != "squad_v2" and bare is not None:
        raise InputError(
            f"{references}: question {bare} has no answer; is --metric squad_v2 meant?"
        )
    if odds is not None and names.keys() - odds.keys():
        missing = sorted(names.keys() - odds.keys())
        raise InputError(f"{null_odds}: no odds for {len(missing)} ids, the first {missing[0]}")
    _warn_of_oddities(data, references, metric)
    return score_qa(metric, answers_by_id, wanted, odds)


def _warn_of_oddities(data: Data[Reference], references: str, metric: str) -> None:
    if not data.problems:
        return
    odd = "1 odd thing" if len(data.problems) == 1 else f"{len(data.problems)} odd things"
    repeated = "the last" if metric == "squad_v2" else "each"
    warn(
        f"{references}: {odd}; scored as it stands, as the official script does, "
        f"which counts {repeated} of the questions with one id"
    )
    for line in problem_lines(data.problems):
        warn(line)


def _mapping(path: str, content: Json, kind: type[V]) -> Mapping[str, V]:
    """The content of a file, a JSON object whose values are all of that kind; an int is a float
    too."""
    if not isinstance(content, dict):
        found = "list" if is_list(content) else type(content).__name__
        raise InputError(f"{path}: expected an object {{id: ...}}, found {found}")
    for name, value in content.items():
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f"{path}: the value of id {name} is {value!r}")
    return content
