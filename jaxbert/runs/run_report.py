"""report.html of a training and of an evaluation: what was run, how it went, what it gave."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxbert.io.files import Json, write_text
from jaxbert.metrics.scores import LOSS, Metric, Scores, number_of, shown_score
from jaxbert.report.curves import Line, training_charts
from jaxbert.report.html_page import html
from jaxbert.report.records import Facts, Findings, Page, Table
from jaxbert.runs.place import Place
from jaxbert.runs.run_files import LOG, REPORT

logger = logging.getLogger("jaxbert")

_TILES = 4  # scores that are read first


class Evaluation(NamedTuple):
    """What an evaluation gave.

    Attributes:
        metrics: the task's scores, the first first.
        findings: of its examples, made when they are asked for.
    """

    task: str
    metrics: Sequence[Metric]
    scores: Scores
    findings: Callable[[], Findings | None]

    @property
    def names(self) -> list[str]:
        """Those of the metrics."""
        return [metric.name for metric in self.metrics]


class Course(NamedTuple):
    """How a training went.

    Attributes:
        evaluations: the scores and the step of each.
        step: that of the model that was saved.
        took: names and values, to be shown.
    """

    evaluations: Sequence[Scores]
    step: int
    took: Mapping[str, str]


def write_report(place: Place, make_page: Callable[[], Page]) -> None:
    """Write report.html; a page that cannot be made is a warning, for the results are there.

    Args:
        place: of the results, which have been written.
    """
    try:
        write_text(place.path / REPORT, html(make_page()))
        place.publish()
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        logger.warning(
            "%s could not be written (%s: %s); all other results are there",
            REPORT,
            type(error).__name__,
            said,
        )


def training_page(
    folder: Path,
    evaluation: Evaluation,
    course: Course,
    command: str,
    facts: Sequence[Facts],
) -> Page:
    """The page of a run whose log is in a folder."""
    lines = read_log(folder / LOG)
    course = _with_saved(course, evaluation.scores)
    steps = int(lines[-1]["step"] or 0) if lines else course.step
    tables = [score_table(evaluation)] if evaluation.scores else []
    if len(course.evaluations) > 1:
        tables.append(_evaluation_table(course, evaluation.names))
    headline = _headline(evaluation)
    last = next((line["loss"] for line in reversed(lines) if line.get("loss") is not None), None)
    if last is not None:
        headline["training loss"] = f"{last:.4g}"
    return Page(
        title=f"{spoken(evaluation.task)}: training",
        lead=f"{steps} steps; the saved model is that of step {course.step}. {written_now()}",
        headline=headline,
        tables=tables,
        charts=training_charts(lines, course.evaluations, evaluation.metrics),
        findings=evaluation.findings() if evaluation.scores else None,
        facts=[Facts("What it took", course.took), *facts],
        command=command,
    )


def evaluation_page(
    evaluation: Evaluation, took: Mapping[str, str], command: str, facts: Sequence[Facts]
) -> Page:
    """The page of an evaluation."""
    return Page(
        title=f"{spoken(evaluation.task)}: evaluation",
        lead=written_now(),
        headline=_headline(evaluation),
        tables=[score_table(evaluation)] if evaluation.scores else [],
        findings=evaluation.findings(),
        facts=[Facts("What it took", took), *facts],
        command=command,
    )


def command_of(verb: str, task: str, words: Sequence[str], *, in_python: bool) -> str:
    """What repeats a run: a command, or the call of a Python program whose data no file has.

    Args:
        verb: train or eval.
        words: of the settings.
    """
    if not in_python:
        return shlex.join(["jaxbert", verb, task, *words])
    call = {"train": "jaxbert.train", "eval": "jaxbert.evaluate"}[verb]
    return f"{call}(...) of a Python program, with {shlex.join(words)}"


def machine_facts(versions: Mapping[str, Json], machine: Mapping[str, Json]) -> list[Facts]:
    """The device and the versions, as the record of a run has them."""
    found = {name: str(value) for name, value in machine.items() if value != ""}
    packages = {name: str(value) for name, value in versions.items()}
    return [
        Facts("Device", found),
        Facts("Versions", {"python": platform.python_version(), **packages}),
    ]


def read_log(path: Path) -> list[Line]:
    """The lines of a run's log that can be read, and have a step."""
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # a line that was torn
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int | float):
                lines.append({n: x for n, x in line.items() if isinstance(x, int | float | None)})
    return lines


def score_table(evaluation: Evaluation) -> Table:
    """All scores, those of the task first."""
    first = [n for n in evaluation.names if n in evaluation.scores]
    names = dict.fromkeys((*first, *evaluation.scores))
    return Table(("score", "value"), [(n, shown_score(evaluation.scores[n])) for n in names])


def _headline(evaluation: Evaluation) -> dict[str, str]:
    names = [n for n in evaluation.names if n in evaluation.scores and n != LOSS][:_TILES]
    names += [LOSS] if LOSS in evaluation.scores else []
    found = {}
    for name in names:
        value = evaluation.scores[name]
        found[name] = value if isinstance(value, str) else f"{value:.4g}"
    return found


def _with_saved(course: Course, scores: Scores) -> Course:
    """With the evaluation of the model that was saved, which comes after the training."""
    if not scores or course.step in [e["step"] for e in course.evaluations]:
        return course
    return course._replace(evaluations=[*course.evaluations, {**scores, "step": course.step}])


def _evaluation_table(course: Course, scores: Sequence[str]) -> Table:
    """The scores of each evaluation, in the order of the steps."""
    ordered = sorted(course.evaluations, key=lambda e: number_of(e, "step"))
    names = [n for n in (*scores, LOSS) if any(n in e for e in ordered)]
    rows = [
        (
            f"{e['step']}" + " (saved)" * (e["step"] == course.step),
            *(shown_score(e[n]) if n in e else "" for n in dict.fromkeys(names)),
        )
        for e in ordered
    ]
    return Table(("step", *dict.fromkeys(names)), rows, title="Evaluations")


def spoken(task: str) -> str:
    """The name of a task as a title has it.

    >>> spoken("multiple_choice"), spoken("qa")
    ('Multiple choice', 'QA')
    """
    return task.replace("_", " ").capitalize() if len(task) > 3 else task.upper()


def written_now() -> str:
    """When a page was written, in words."""
    return datetime.datetime.now(datetime.UTC).strftime("Written on %d %B %Y at %H:%M UTC.")
