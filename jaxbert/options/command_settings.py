"""The flags of the commands that are no task's: calibrate and score.

The docstring of a command's flags is what its --help begins with.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxbert.options.fields import Settings, option
from jaxbert.options.settings import AssessmentOptions
from jaxbert.options.task_settings import QAOptions


@dataclasses.dataclass(frozen=True)
class CalibrateOptions(QAOptions, AssessmentOptions):
    """Find the threshold of no answer (SQuAD v2.0) and calibrate the confidence of answers.

        jaxbert calibrate --model_name_or_path runs/squad2 --validation_file dev-v2.0.json

    Half of the paragraphs are fitted to, the other half is reported on. `jaxbert eval qa` and
    QuestionAnswerer use what is found; --null_score_diff_threshold and --score_temperature
    override it.
    """

    GROUP = "calibration"

    fit_part: float = option(
        0.5,
        "Part of the paragraphs to fit to; scores are reported on the others only.",
        range=(0.01, 1),
    )
    seed: int = option(42, "Of the choice of the paragraphs.", range=(0, 2**32 - 1))


@dataclasses.dataclass(frozen=True)
class ScoreOptions(Settings):
    """Score a predictions file against references; prints one JSON line.

    jaxbert score --metric squad --predictions predictions.json --references dev-v1.1.json
    jaxbert score --metric tagging --predictions predictions.json --references dev.conll
    """

    metric: Literal[
        "squad",
        "squad_v2",
        "cmrc2018",
        "classification",
        "regression",
        "multiple_choice",
        "tagging",
    ] = option("squad", "The scores: official ones of a data set, or those of a task.")
    predictions: str | None = option(
        None,
        "JSON: question id to answer text, or a list in the order of the rows.",
        path=True,
    )
    references: str | None = option(None, "The data set, in any form that train/ reads.", path=True)
    null_odds: str | None = option(
        None, "For squad_v2, JSON: id to odds; finds the thresholds.", path=True
    )
    text_column_name: list[str] | None = option(
        None, "The columns of the references' texts.", resume="examples", names_input=True
    )
    label_column_name: list[str] | None = option(
        None,
        "The column of the label, or of the tags; of several labels, see train/.",
        resume="examples",
        names_input=True,
    )
    positive_label: str | None = option(
        None, "Of two classes the one that f1 is of; by default the second."
    )
    quoted_tsv: bool = option(
        False,
        'Fields of TSV files may be in quotes; else a " is text.',
        resume="examples",
        names_input=True,
    )
    entity_mode: Literal["default", "strict"] = option(
        "default", "How wrong tag sequences count, as seqeval defines it."
    )
    strict: bool = option(
        False, "Stop at the first faulty row instead of reporting it.", resume="free"
    )
    debug: bool = option(False, "Show the traceback of an error.", resume="free")
