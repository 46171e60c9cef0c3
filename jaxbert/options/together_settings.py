"""Options of `jaxbert train together`: those that all its tasks share."""

from __future__ import annotations

import dataclasses

from jaxbert.errors import InputError
from jaxbert.options.fields import AUTO, option, settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.source_settings import TrainingDataOptions

# Options of a training that each task has of its own: its data and its loss.
OF_TASKS = frozenset(
    {*(s.name for s in settings_of(TrainingDataOptions)), "loss", "loss_args", "loss_weights"}
)
# Options that all tasks share, where a task has none of its own.
OF_EITHER = frozenset(
    {"per_device_train_batch_size", "per_device_eval_batch_size", "length_bucket"}
)
# Options of a training that are of all tasks alone.
SHARED = frozenset(s.name for s in settings_of(TrainingOptions)) - OF_TASKS - OF_EITHER
# Options that are not for several tasks, and what to do instead.
_ADAPTER = "adapters are of one task; train each task alone, with --lora_rank"
_UPLOAD = "each task has a model of its own: upload it by `jaxbert push OUTPUT_DIR/TASK`"
REFUSED = {
    **dict.fromkeys(("lora_rank", "lora_alpha", "lora_targets", "lora_dropout"), _ADAPTER),
    **dict.fromkeys(("push_to_hub", "hub_model_id", "hub_private_repo"), _UPLOAD),
}


@dataclasses.dataclass(frozen=True)
class TogetherOptions(TrainingOptions):
    """Train several tasks on one encoder, in turns: one run, a head and a folder for each task.

        jaxbert train together --tasks classification:2 tagging:1 \\
            --classification.train_file a.tsv --classification.validation_file b.tsv \\
            --tagging.train_file c.conll --tagging.max_seq_length 64 \\
            --model_name_or_path bert-base-uncased --output_dir runs/both

    Of three steps two are of classification and one is of tagging, in an order drawn by --seed.
    Data, loss and all that `jaxbert train TASK --help` lists under "the task and its rows" are
    given to a task, --TASK.flag; so can be --per_device_train_batch_size,
    --per_device_eval_batch_size and --length_bucket. All other flags are those below. A task can
    be there twice, by names: --tasks news=classification reviews=classification, --news.train_file.

    An epoch ends when every task has had all its data at least once. Scores are called
    classification.accuracy, tagging.f1, ...; eval_loss, by which the best checkpoint is told, is
    the mean of the tasks' by their shares. --output_dir/TASK is the model of a task, for
    `jaxbert eval`, `ask` and `serve`.
    """

    GROUP = "the tasks"

    tasks: list[str] | None = option(
        None,
        "TASK, TASK:SHARE or NAME=TASK:SHARE of each; the share is its steps in a cycle, by "
        "default 1.",
        resume="never",
        reason="the steps of a run are drawn by its tasks and their shares",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in settings_of(type(self)):
            if getattr(self, setting.name) == setting.default:
                continue
            if setting.name in OF_TASKS:
                raise InputError(
                    f"--{setting.name} is of a task; give it to one: --TASK.{setting.name}"
                )
            if setting.name in REFUSED:
                what = REFUSED[setting.name]
                raise InputError(f"--{setting.name} is not for several tasks: {what}")
        if self.per_device_train_batch_size == AUTO:
            raise InputError(
                "--per_device_train_batch_size auto is not for several tasks; give one"
            )
