"""Predictions files of rows against references: the scores of eval/score.py for all other tasks."""

from __future__ import annotations

from collections.abc import Sequence

from jaxbert.data.rows import Cell, Data
from jaxbert.errors import InputError
from jaxbert.metrics.scores import Scores
from jaxbert.options.command_settings import ScoreOptions
from jaxbert.options.fields import Setting, Value, settings_of
from jaxbert.options.keywords import make_settings
from jaxbert.runs.scored_files import read_predictions_file, warn
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task import E, RowTask, is_list


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
    cls = TASKS[metric]
    assert issubclass(cls, RowTask)  # the type of --metric names no other
    known = settings_of(cls.settings_cls)
    if options.positive_label is not None and "positive_label" not in {s.name for s in known}:
        raise InputError("--positive_label is for --metric classification")
    own = {s.name: _plain(s, getattr(options, s.name, s.default)) for s in known}
    task = cls(make_settings(cls.settings_cls, own))
    data = task.read([(references, task.load(references))])
    entries = _entries(predictions, data, references)
    found, cfg = task.read_predictions(entries, data, predictions)
    for doubt in task.doubts(data.examples):
        if options.strict:
            raise InputError(f"{doubt} (--strict)")
        warn(doubt)
    return task.score(data.examples, found, cfg)


def _plain(setting: Setting, value: Value) -> Value:
    """The value of a flag that takes several, for a task's setting that takes one.

    Raises:
        InputError: there are several columns of labels.
    """
    if not isinstance(value, list) or setting.several:
        return value
    if setting.name == "label_column_name" and len(value) > 1:
        raise InputError("--label_column_name: several columns are for --metric classification")
    return value[0]


def _entries(path: str, data: Data[E], references: str) -> Sequence[Cell]:
    """The entries of a predictions file, one for each example of the references."""
    entries = read_predictions_file(path)
    if fault := next((problem for problem in data.problems if problem.malformed), None):
        raise InputError(f"{fault.where}: {fault.what}, and a score is of all rows")
    left_out = "; rows that are left out are named above" * bool(data.problems)
    for problem in data.problems:  # all of them: the predictions must leave out the same rows
        warn(str(problem))
    if not is_list(entries) or len(entries) != len(data.examples):
        size = f"{len(entries)} entries" if is_list(entries) else "no list"
        raise InputError(
            f"{path}: {size}, and {references} has {len(data.examples)} rows{left_out}"
        )
    return entries
