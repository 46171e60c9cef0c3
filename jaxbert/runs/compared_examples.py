"""The differences of compared runs over the examples that they were judged on, by a bootstrap."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic

import numpy as np

from jaxbert.data.rows import Data
from jaxbert.errors import InputError
from jaxbert.metrics.differences import Interval, drawn_counts, interval_of
from jaxbert.metrics.resampled_scores import ResampledScores
from jaxbert.model.config import load_config
from jaxbert.options.source_settings import Source
from jaxbert.runs.inputs import read_examples
from jaxbert.runs.scored_files import read_predictions_file
from jaxbert.tasks.task import E, P, S, Task

logger = logging.getLogger("jaxbert")

_PREDICTIONS = "predictions.json"

# Score -> its interval.
Intervals = Mapping[str, Interval]


class JudgedExamples(Generic[S, E, P]):
    """The validation examples of compared runs.

    Args:
        task: with the settings of the runs.
        source: of the examples.
        cache_dir: where they are kept.

    Raises:
        InputError: they cannot be read.
    """

    def __init__(self, task: Task[S, E, P], source: Source, cache_dir: str | None = None) -> None:
        data = read_examples(task, source, cache_dir=cache_dir)
        if data is None:
            raise InputError("there is no validation data")
        self._task = task.fit_to(None, data.examples)
        self._data: Data[E] = data
        self._read: dict[Path, ResampledScores] = {}

    @property
    def examples(self) -> Sequence[E]:
        """In the order of the predictions."""
        return self._data.examples

    def intervals(self, runs: Sequence[Path], base: Sequence[Path]) -> Intervals:
        """How far the mean scores of runs may be from those of others, on other examples.

        All runs are judged on the same resamples, so what is hard for all of them cancels.

        Args:
            runs, base: folders, a pair for each seed.

        Raises:
            InputError: a run has no predictions, or those of other data.
        """
        pairs = [(self.resampled(a), self.resampled(b)) for a, b in zip(runs, base, strict=True)]
        parts: dict[str, list[np.ndarray]] = {}
        for counts in drawn_counts(len(self._data.examples)):
            found = [(of_run(counts), of_base(counts)) for of_run, of_base in pairs]
            for name in found[0][0]:
                one = np.mean([mine[name] - theirs[name] for mine, theirs in found], axis=0)
                parts.setdefault(name, []).append(one)
        return {name: interval_of(np.concatenate(of)) for name, of in parts.items()}

    def resampled(self, folder: Path) -> ResampledScores:
        """The scores of a run, of resamples.

        Raises:
            InputError: see `intervals`.
        """
        if folder not in self._read:
            path = folder / _PREDICTIONS
            content = read_predictions_file(str(path))
            predictions = self._task.kept_predictions(content, self._data, str(path))
            cfg = load_config(folder)
            scores = None
            if predictions is not None:
                scores = self._task.resampled(self._data.examples, predictions, cfg)
            if scores is None:
                raise InputError(f"{path}: not of single examples")
            self._read[folder] = scores
        return self._read[folder]


def intervals_of(
    task: Task[S, E, P],
    source: Source,
    runs: Mapping[str, Sequence[Path]],
    cache_dir: str | None = None,
) -> dict[str, Intervals]:
    """The intervals of each group of runs but the first, beside which they are.

    What cannot be read costs the intervals alone, which is logged: the runs are done.

    Args:
        runs: name -> the folder of the run of each seed.
        cache_dir: where the examples are kept.
    """
    first, *others = runs
    paths = [folder / _PREDICTIONS for folders in runs.values() for folder in folders]
    if missing := next((path for path in paths if not path.exists()), None):
        logger.info("no intervals over the examples: there is no %s", missing)
        return {}
    try:
        examples = JudgedExamples(task, source, cache_dir) if others else None
        return {name: examples.intervals(runs[name], runs[first]) for name in others if examples}
    except InputError as error:
        logger.warning("no intervals over the examples: %s", error)
        return {}
