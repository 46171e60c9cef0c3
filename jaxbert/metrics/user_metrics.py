"""Metrics that a Python program gives: functions of predictions and examples, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import shown
from jaxbert.metrics.scores import Metric
from jaxbert.options.dependencies import Function
from jaxbert.options.user_function import UserFunction, error_line, user_function

# A prediction or an example, under the names of its fields.
Record = Mapping[str, Json]


class UserMetric(NamedTuple):
    """A metric of a Python program.

    Attributes:
        name: of its score.
        function: (predictions, examples) -> a number.
        lower_is_better: whether the lower one of two scores is the better one.
    """

    name: str
    function: UserFunction
    lower_is_better: bool

    def value(self, predictions: Sequence[Record], examples: Sequence[Record]) -> float:
        """The score, which may be NaN.

        Args:
            predictions, examples: those of an evaluation, which the function may change.

        Raises:
            InputError: the function fails, or returns something else than a number.
        """
        try:
            result = self.function.function(predictions, examples)
            if getattr(result, "shape", None) == ():  # of an array
                result = result.item()
        except InputError:
            raise
        except Exception as error:
            said = error_line(error, self.function.path)
            raise InputError(f"metrics {self.name}: {said}") from None
        if isinstance(result, bool) or not isinstance(result, int | float):
            kind = type(result).__name__
            several = "; give one function for each score" * isinstance(result, Mapping)
            raise InputError(f"metrics {self.name}: it returned {kind}, not a number{several}")
        try:
            return float(result)
        except OverflowError:  # an integer that no float can be
            return math.inf

    def values(self) -> dict[str, str]:
        """What the metric depends on beside the text of its function."""
        return {**self.function.values, "lower_is_better": str(self.lower_is_better)}


def user_metrics(given: Sequence[Function | Metric]) -> tuple[UserMetric, ...]:
    """The metrics of a list of functions, each named by its __name__, and of Metric.

    Raises:
        InputError: one is no function, or cannot be recorded; or a name cannot be used.
    """
    if isinstance(given, Metric) or not isinstance(given, list | tuple):
        raise InputError(
            f"metrics (of type {type(given).__name__}): give a list of functions, or of "
            "jaxbert.Metric(name, function)"
        )
    found: dict[str, UserMetric] = {}
    for each in given:
        metric = each if isinstance(each, Metric) else Metric(getattr(each, "__name__", ""), each)
        given_function = _function_of(each) if isinstance(each, Metric) else each
        function = user_function(given_function, "metrics")
        name = metric.name
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise InputError(
                f"metrics {function.name}: {shown(repr(name))} cannot be the name of a score; "
                "give jaxbert.Metric(name, function), with a name of letters, digits, _ - and ."
            )
        if name in ("step", "loss") or name.startswith("eval_"):
            taken = "step, loss and eval_... are taken"
            raise InputError(f"metrics {name}: give another name; {taken}")
        if name in found:
            raise InputError(f"metrics {name}: two metrics have this name")
        found[name] = UserMetric(name, function, metric.lower_is_better)
    return tuple(found.values())


def _function_of(metric: Metric) -> Function:
    """The function of a metric.

    Raises:
        InputError: a field of it has the wrong type.
    """
    usage = "give jaxbert.Metric(name, function, lower_is_better=False)"
    where, lower = f"metrics {shown(repr(metric.name))}", metric.lower_is_better
    if not callable(metric.function):
        has = "no function" if metric.function is None else f"{metric.function!r} is no function"
        raise InputError(f"{where}: {shown(has)}; {usage}")
    if not isinstance(lower, bool | np.bool_):
        raise InputError(f"{where}: lower_is_better is {shown(repr(lower))}, not a bool; {usage}")
    return metric.function
