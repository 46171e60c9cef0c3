"""Predictions files of rows against references: the scores of eval/score.py for all other tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxbert.data.rows import Data
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.metrics.class_scores import (
    choice_scores,
    classification_scores,
    multi_label_scores,
    regression_scores,
)
from jaxbert.metrics.entities import entity_scores, find_scheme
from jaxbert.metrics.scores import Scores
from jaxbert.options.fields import Value, settings_of
from jaxbert.options.keywords import make_settings
from jaxbert.options.settings import (
    ClassificationOptions,
    MultipleChoiceOptions,
    ReadingOptions,
    RegressionOptions,
    ScoreOptions,
    TaggingOptions,
)
from jaxbert.runs.scored_files import read_json, warn
from jaxbert.tasks.classification import CLASSIFICATION, classes_of
from jaxbert.tasks.multiple_choice import MULTIPLE_CHOICE
from jaxbert.tasks.regression import REGRESSION
from jaxbert.tasks.tagging import TAGGING, doubts_of
from jaxbert.tasks.task import Task, shown_classes, sorted_classes

# The task that reads the references, its options, and what a prediction is called in its
# predictions.json.
_ROWS: dict[str, tuple[Task, type[ReadingOptions], str]] = {
    "classification": (CLASSIFICATION, ClassificationOptions, "label"),
    "regression": (REGRESSION, RegressionOptions, "score"),
    "multiple_choice": (MULTIPLE_CHOICE, MultipleChoiceOptions, "label"),
    "tagging": (TAGGING, TaggingOptions, "tags"),
}


def score_rows(
    metric: str, predictions: str | None, references: str | None, options: ScoreOptions
) -> Scores:
    """The scores of a predictions file whose entries are in the order of the data's rows.

    Args:
        metric: classification, regression, multiple_choice or tagging.
        predictions: path of a JSON list: the predictions.json of an evaluation, or of bare class
            names, lists of these, numbers, or lists of tags.
        references: path of the data set.

    Raises:
        InputError: a file is missing or of another form, they are not as long, or a row of the
            references cannot be used.
    """
    if not predictions or not references:
        raise InputError("give --predictions and --references, two files")
    task, cls, name = _ROWS[metric]
    if metric != "classification":
        _check_single(options)
    kinds: dict[str, Any] = {"regression": (int, float), "multiple_choice": int, "tagging": list}
    data = _references(task, cls, references, options)
    examples = data.examples
    found = read_json(predictions)
    if fault := next((problem for problem in data.problems if problem.malformed), None):
        raise InputError(f"{fault.where}: {fault.what}, and a score is of all rows")
    left_out = "; rows that are left out are named above" * bool(data.problems)
    for problem in data.problems:  # all of them: the predictions must leave out the same rows
        warn(str(problem))
    if not isinstance(found, list) or len(found) != len(examples):
        size = f"{len(found)} entries" if isinstance(found, list) else "no list"
        raise InputError(
            f"{predictions}: {size}, and {references} has {len(examples)} rows{left_out}"
        )
    if metric == "classification" and _are_sets(found, data):
        return _score_sets(predictions, found, data, options)
    given = [entry[name] if isinstance(entry, dict) and name in entry else entry for entry in found]
    gold = [e.tags if metric == "tagging" else e.label for e in examples]
    for number, (one, other, e) in enumerate(zip(given, gold, examples, strict=True)):
        if other is None:
            raise InputError(f"{e.where}: no label to score with")
        kind = kinds.get(metric, str)
        if not isinstance(one, kind) or isinstance(one, bool):
            wanted = {"regression": "a number", "multiple_choice": "the number of a choice"}
            wanted |= {"tagging": "a list of tags", "classification": "the name of a class"}
            raise InputError(
                f"{predictions}: entry {number} is {str(one)[:40]}, expected {wanted[metric]}"
            )
        if metric == "regression" and not abs(one) <= 1e30:  # NaN is not either
            raise InputError(
                f"{predictions}: entry {number} is {str(one)[:40]}, expected a finite number"
            )
        if metric == "tagging" and not all(isinstance(tag, str) for tag in one):
            raise InputError(f"{predictions}: entry {number} has tags that are no text")
        entry = found[number]
        words = entry.get("words") if metric == "tagging" and isinstance(entry, dict) else None
        if words is not None and words != list(e.words):
            raise InputError(
                f"{predictions}: entry {number} is of other words than {e.where}; are they of the "
                "same data, in the same order?"
            )
        if metric == "tagging" and len(one) != len(other):
            raise InputError(
                f"{predictions}: entry {number} has {len(one)} tags for {len(other)} words"
            )
    if metric == "regression":
        return regression_scores(given, gold)
    if metric == "multiple_choice":
        return choice_scores(given, gold)
    if metric == "tagging":
        for doubt in doubts_of(examples, options):
            if options.strict:
                raise InputError(f"{doubt} (--strict)")
            warn(doubt)
        scheme = find_scheme({tag for tags in gold for tag in tags})
        known = {tag for tags in gold for tag in tags}
        other = next((tag for tags in given for tag in tags if tag not in known), None)
        if scheme and other and find_scheme({*known, other}) != scheme:
            raise InputError(f"{predictions}: tag {other!r} is not of the references' scheme")
        return entity_scores(given, gold, scheme=scheme, mode=options.entity_mode)
    # The order that the data declare, or the model's own: it says whose F1 two classes have.
    names, first = {*given, *gold}, found[0]
    own = first.get("scores") if isinstance(first, dict) else None
    orders = (data.classes, tuple(own) if isinstance(own, dict) else ())
    order = next((order for order in orders if names <= set(order)), sorted_classes(names))
    positive = options.positive_label
    if positive is not None and (len(order) != 2 or positive not in order):
        raise InputError(
            f"--positive_label {positive}: it is one of two classes; there are "
            f"{shown_classes(order)}"
        )
    return classification_scores(given, gold, order, positive)


def _check_single(options: ScoreOptions) -> None:
    """Raise InputError for what is for classes alone."""
    if len(options.label_column_name or ()) > 1:
        raise InputError("--label_column_name: several columns are for --metric classification")
    if options.positive_label is not None:
        raise InputError("--positive_label is for --metric classification")


def _references(
    task: Task, cls: type[ReadingOptions], path: str, options: ScoreOptions
) -> Data[Any]:
    """The data set, by the task's own reader, of which some take the name of one column."""
    given: dict[str, Value] = {}
    for setting in settings_of(cls):
        value: Value = getattr(options, setting.name, setting.default)
        given[setting.name] = value[0] if isinstance(value, list) and not setting.several else value
    own = make_settings(cls, given)
    return task.read([(path, task.load(path, own))], own)


def _are_sets(found: list[Any], data: Data[TextExample]) -> bool:
    """Whether predictions or references are of any number of classes."""
    return any(isinstance(e.label, tuple) for e in data.examples) or any(
        isinstance(entry, list) or (isinstance(entry, dict) and "labels" in entry)
        for entry in found
    )


def _score_sets(
    path: str, found: list[Any], data: Data[TextExample], options: ScoreOptions
) -> Scores:
    """Scores of rows with any number of classes; average precision where all have scores."""
    if options.positive_label is not None:
        raise InputError(
            f"--positive_label {options.positive_label}: not for any number of labels a row"
        )
    for number, (entry, e) in enumerate(zip(found, data.examples, strict=True)):
        names = entry.get("labels") if isinstance(entry, dict) else entry
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{path}: entry {number} is {str(entry)[:40]}, expected a list of names of classes"
            )
        if e.label is None:
            raise InputError(f"{e.where}: no label to score with")
    given = [entry["labels"] if isinstance(entry, dict) else entry for entry in found]
    gold = [classes_of(e) for e in data.examples]
    ranked = [entry.get("scores") if isinstance(entry, dict) else None for entry in found]
    scored = all(isinstance(scores, dict) for scores in ranked)
    named = (data.classes, *given, *gold, *(ranked if scored else ()))
    order = sorted_classes({name for names in named for name in names})
    if not order:
        raise InputError(f"{path}: no label in any entry, and none in the references")
    if not scored:
        return multi_label_scores(given, gold, order)
    rows = np.zeros((len(ranked), len(order)))
    for number, scores in enumerate(ranked):
        for place, name in enumerate(order):
            value = scores.get(name) if isinstance(scores, dict) else None
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is None or not is_number or not abs(value) <= 1e30:  # NaN is not either
                raise InputError(f"{path}: entry {number} has no score of {name!r}, a number")
            rows[number, place] = value
    return multi_label_scores(given, gold, order, rows)
