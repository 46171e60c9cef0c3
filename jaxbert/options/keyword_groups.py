"""Groups of options as keywords of what reads them: so nothing is given the settings as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from jaxbert.options.source_settings import OwnColumns, Source


class EncodingKeywords(TypedDict):
    """Keywords of runs.encoding.encode_examples."""

    cache_dir: str | None
    workers: int | None


class UploadKeywords(TypedDict):
    """Keywords of what asks the Hub, in runs.train."""

    push: bool
    name: str | None
    private: bool


class RuleKeywords(TypedDict):
    """Keywords of training.choose_optimizer.choose_optimizer."""

    optim_args: str | None
    adam: Mapping[str, float]
    weight_decay: float


class OptimizerKeywords(TypedDict):
    """Keywords of training.optimizers.make_optimizer."""

    weight_decay: float
    clip_norm: float
    frozen: Sequence[str]
    unfreeze_step: int | None
    layer_decay: float
    head_factor: float
    ema_decay: float | None
    swa_start: float | None


class FolderKeywords(TypedDict):
    """Keywords of RunFolder.open that the options decide."""

    given: str
    overwrite: bool
    keep: int
    retry_on_error: bool


class DataKeywords(TypedDict):
    """Keywords of runs.training_inputs.read_data."""

    training: Source
    validation: Source
    names: OwnColumns
    needed_by: Sequence[str]
    cache_dir: str | None


class ScheduleKeywords(TypedDict):
    """How the learning rate rises and falls, for runs.run_step.make_rule."""

    peak: float
    warmup_steps: int
    warmup_ratio: float
    decay: Literal["linear", "cosine", "constant", "constant_with_warmup"]


class LearningKeywords(TypedDict):
    """Keywords of runs.task_phases.learned_by."""

    seed: int
    dtype: str
    packing: bool
    length_bucket: int
    own_columns: OwnColumns


class LoraKeywords(TypedDict):
    """Keywords of model.lora.Lora."""

    rank: int
    alpha: float
    targets: Sequence[str] | None
    base: str | None
    dropout: float


class LossKeywords(TypedDict):
    """Keywords of losses.choose.choose_loss that the options decide."""

    name: str
    loss_args: str | None
    loss_weights: str | None


class StepKeywords(TypedDict):
    """Keywords of runs.run_step.make_step."""

    accumulate: int
    frozen: Sequence[str]
    unfreeze_step: int | None
    remat: bool
    scan: bool


class BatchKeywords(TypedDict):
    """Keywords of runs.plan.make_sampler that the options alone decide."""

    gradient_accumulation_steps: int
    packing: bool
    length_bucket: int
    seed: int


class PlanKeywords(TypedDict):
    """Keywords of runs.plan.make_plan that the options decide."""

    metric_for_best_model: str | None
    num_train_epochs: float
    max_steps: int
    logging_steps: int
    eval_steps: int | None
    save_steps: int | None
    early_stopping_patience: int | None
    max_nonfinite_steps: int
    load_best_model_at_end: bool
