"""The names of what a run writes in its output directory."""

from __future__ import annotations

from jaxbert.callbacks.reports import TENSORBOARD
from jaxbert.losses.own_params import FILE as LOSS_PARAMS
from jaxbert.model.peft_folder import ADAPTERS
from jaxbert.runs.record import RECORD

CHECKPOINTS = "checkpoints"
LOG = "train_log.jsonl"
METRICS = "metrics.json"
# Beside the record of a run that an earlier version compared: what it was asked for, or void.
COMPARED = "compared.json"
REPORT = "report.html"
# What an evaluation replaces beside its scores, where it has it: the task's files, the report.
RESULTS = (
    *("predictions.json", "nbest_predictions.json", "null_odds.json", "entity_report.json"),
    REPORT,
)
TRACE = "profile"  # the folder of --profile_steps
# All that a run writes in its output directory; --overwrite_output_dir removes nothing else.
RUN_FILES = (
    *(CHECKPOINTS, LOG, METRICS, *RESULTS),
    *("calibration.json", "reliability.png", COMPARED, TENSORBOARD, TRACE, ADAPTERS),
    *(LOSS_PARAMS, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    RECORD,  # the last to be removed: without it the others would be taken for another's
)
