"""Options: frozen dataclasses whose fields are the flags of the scripts.

Names are those of Hugging Face's run_qa and Trainer wherever they have the option, and so are the
defaults that decide the trained parameters: a migrating command keeps its meaning. How often a run
evaluates, logs and saves is our own. options.json beside a checkpoint holds them as used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option, settings_of
from jaxbert.options.keyword_groups import (
    BatchKeywords,
    DataKeywords,
    EncodingKeywords,
    FolderKeywords,
    LearningKeywords,
    LoraKeywords,
    LossKeywords,
    OptimizerKeywords,
    PlanKeywords,
    RuleKeywords,
    ScheduleKeywords,
    StepKeywords,
    UploadKeywords,
)
from jaxbert.options.source_settings import Source, SourceOptions, TrainingDataOptions

# The groups of --help, in this order. Each dataclass says which one its options are in.
GROUPS = (
    "model",
    "the tasks",
    "data",
    "the task and its rows",
    "training",
    "results and checkpoints",
    "calibration",
    "devices, speed and debugging",
)

# What --lora_rank freezes: the encoder, and the head of masked language models, which is pretrained
# too.
FROZEN_BY_LORA = ("bert", "predictions")


@dataclasses.dataclass(frozen=True)
class DeviceOptions(Settings):
    """What it is computed on, and how fast."""

    GROUP = "devices, speed and debugging"

    parallel: Literal["auto", "pmap", "jit"] = option(
        "auto", "Several devices: auto is jit on GPUs, else pmap; both give equal results."
    )
    coordinator_address: str | None = option(
        None,
        "HOST:PORT of the first of several processes; python -m jaxbert.launch gives it.",
        resume="free",
    )
    num_processes: int | None = option(
        None, "How many processes the run has.", range=(1, 65536), resume="free"
    )
    process_id: int | None = option(None, "Which of them this one is, from 0.", resume="free")
    per_device_eval_batch_size: int = option(
        32, "Rows of a prediction batch on each device.", range=(1, 65536), resume="free"
    )
    length_bucket: int = option(
        64, "Pad to multiples of this; 0 pads all to max_seq_length.", range=(0, 1e6)
    )
    cache_dir: str | None = option(
        None,
        "A folder for examples and tokenized data: the next start reads them from there.",
        resume="free",
        path=True,
    )
    preprocessing_num_workers: int | None = option(
        None,
        "Processes that tokenize; by default this one does, with a thread for each core.",
        range=(1, 1024),
        resume="free",
    )
    compilation_cache_dir: str | None = option(
        None,
        "A private folder for compiled programs: a second start compiles hardly anything.",
        resume="free",
        path=True,
    )
    debug: bool = option(False, "Show the traceback of an error.", resume="free")

    def encoding(self) -> EncodingKeywords:
        """How examples become features, beside the task and the tokenizer."""
        return {"cache_dir": self.cache_dir, "workers": self.preprocessing_num_workers}


@dataclasses.dataclass(frozen=True)
class ModelOptions(DeviceOptions):
    """Which model, and how it is computed."""

    GROUP = "model"

    model_name_or_path: str | None = option(
        None,
        "A BERT folder, a Hub name, or minilm-l6 (carried by a Python package).",
        address=True,
        names_input=True,
    )
    config_name: str | None = option(
        None,
        "A config.json or its folder, to start from random weights instead.",
        resume="examples",
        address=True,
        names_input=True,
    )
    tokenizer_name: str | None = option(
        None,
        "A tokenizer's folder; by default the model's.",
        resume="examples",
        address=True,
        names_input=True,
    )
    dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32",
        "Type of the activations; parameters, softmax and loss are float32 always. float16 is for "
        "GPUs without bfloat16, and scales the loss.",
    )
    matmul_precision: Literal["default", "high", "highest"] = option(
        "default",
        "How a GPU or TPU multiplies float32: by default as TF32 or bfloat16; highest as float32.",
    )
    attention: Literal["auto", "xla", "pallas", "triton", "cudnn"] = option(
        "auto", "How attention is computed: auto takes the fastest that is exact, and says which."
    )


@dataclasses.dataclass(frozen=True)
class CheckpointOptions(Settings):
    """What a run writes and when, and which of its models is the result."""

    GROUP = "results and checkpoints"

    output_dir: str | None = option(
        None,
        "Where all results go; a run that was stopped there is resumed.",
        resume="free",
        address=True,
    )
    overwrite_output_dir: bool = option(
        False,
        "Remove the run in --output_dir and start a new one.",
        resume="free",
    )
    allow_changed_options: list[str] | None = option(
        None,
        "Options that may differ from those the run in --output_dir was started with.",
        resume="free",
    )
    logging_steps: int = option(
        1, "Write a line of train_log.jsonl every N steps.", range=(1, 1e9), resume="free"
    )
    eval_steps: int | None = option(
        None, "Evaluate every N steps; by default every epoch.", range=(1, 1e9)
    )
    save_steps: int | None = option(
        None, "Save every N steps; by default every epoch.", range=(1, 1e9), resume="free"
    )
    save_total_limit: int = option(
        2, "Newest checkpoints to keep, at least 2, beside the best.", range=(1, 1e6), resume="free"
    )
    save_errors: Literal["stop", "retry"] = option(
        "stop",
        "A checkpoint that cannot be written ends the run, or is tried again at the next.",
        resume="free",
    )
    report_to: list[str] | None = option(
        None,
        "Send curves to tensorboard (a folder in --output_dir), wandb or mlflow; none leaves out "
        "report.html too.",
        resume="free",
    )
    push_to_hub: bool = option(
        False, "Upload the finished model, with its card, to the Hugging Face Hub.", resume="free"
    )
    hub_model_id: str | None = option(
        None,
        "Its name there, USER/NAME; by default yours, with the name of --output_dir.",
        resume="free",
    )
    hub_private_repo: bool = option(
        False, "A repository that is made for it is private.", resume="free"
    )
    metric_for_best_model: str | None = option(None, "The score that tells the best checkpoint.")
    load_best_model_at_end: bool = option(False, "The result is the best checkpoint, not the last.")
    early_stopping_patience: int | None = option(
        None,
        "Stop after this number of evaluations in a row that are not better than the best.",
        range=(1, 1e9),
    )

    def upload(self) -> UploadKeywords:
        """Whether and where the model is uploaded."""
        return {
            "push": self.push_to_hub,
            "name": self.hub_model_id,
            "private": self.hub_private_repo,
        }

    def folder(self) -> FolderKeywords:
        """Where the run goes, and how it is kept there."""
        return {
            "given": self.output_dir or "",
            "overwrite": self.overwrite_output_dir,
            "keep": self.save_total_limit,
            "retry_on_error": self.save_errors == "retry",
        }

    @property
    def comparing_models(self) -> list[str]:
        """The options given that ask which of two models is better, and so for validation data."""
        names = ("load_best_model_at_end", "early_stopping_patience", "metric_for_best_model")
        return [name for name in names if getattr(self, name)]


@dataclasses.dataclass(frozen=True)
class TrainingOptions(CheckpointOptions, TrainingDataOptions, ModelOptions):
    """How a model learns, the same for every task."""

    GROUP = "training"

    seed: int = option(
        42, "Of the order of the data, dropout and new parameters.", range=(0, 2**32 - 1)
    )
    num_train_epochs: float = option(3.0, "Passes over the training data.", range=(0, 1e6))
    max_steps: int = option(
        -1, "Stop after this number of steps instead, when above 0.", range=(-1, 1e9)
    )
    per_device_train_batch_size: int = option(
        8,
        "Rows of a micro-batch on each device; auto: as many as fit in a GPU's or TPU's memory.",
        range=(1, 65536),
        auto=True,
    )
    packing: bool = option(False, "Put several windows in one row: hardly any padding is computed.")
    gradient_accumulation_steps: int = option(1, "Micro-batches of a step.", range=(1, 65536))
    learning_rate: float = option(5e-5, "The highest learning rate.", range=(0, 1e3))
    layerwise_lr_decay: float = option(
        1.0,
        "Below 1: each layer's learning rate is that of the one above it times this.",
        range=(1e-3, 1),
    )
    head_learning_rate: float | None = option(
        None,
        "Another highest learning rate for the head, what is outside of encoder and pooler.",
        range=(0, 1e3),
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = option(
        "linear", "How the learning rate falls after the warmup; constant has no warmup."
    )
    warmup_ratio: float = option(
        0.0, "Part of the steps in which the learning rate rises.", range=(0, 1)
    )
    warmup_steps: int = option(0, "The same in steps, when above 0.", range=(0, 1e9))
    optim: str = option(
        "adamw",
        "The optimizer: adamw, lamb, lion, adafactor, sgd, or FILE.py:FUNCTION.",
        resume="never",
        reason="the state of one optimizer is not that of another",
    )
    optim_args: str | None = option(
        None, """Its options as JSON: '{"momentum": 0.9}' of sgd.""", json=True
    )
    weight_decay: float = option(0.0, "Of all parameters but biases and LayerNorm.", range=(0, 1e3))
    adam_beta1: float = option(0.9, "Beta 1 of adamw, lamb and lion.", range=(0, 0.999999))
    adam_beta2: float = option(0.999, "Their beta 2.", range=(0, 0.99999999))
    adam_epsilon: float = option(1e-8, "Epsilon of adamw and lamb.", range=(1e-12, 1))
    max_grad_norm: float = option(
        1.0, "Gradients are clipped to this norm; 0 does not clip.", range=(0, 1e9)
    )
    max_nonfinite_steps: int = option(
        3,
        "Steps whose loss or gradient is not finite are skipped; this many in a row end the run.",
        range=(1, 1e6),
        resume="free",
    )
    freeze: list[str] | None = option(
        None,
        "Modules that stay as they are: embeddings, layer_0, layer_1, ..., bert; weights: all of "
        "the encoder but its biases (BitFit).",
        resume="never",
        reason="what is frozen cannot be changed, since the optimizer has no state of it",
    )
    unfreeze_step: int | None = option(
        None,
        "Steps after which the modules of --freeze are trained too.",
        range=(1, 1e9),
        resume="never",
        reason="the optimizer's state of what is frozen depends on it",
    )
    lora_rank: int | None = option(
        None,
        "Freeze the encoder; train changes of its matrices of this rank (LoRA), and the head.",
        range=(1, 4096),
        resume="never",
        reason="the adapter's matrices have its shape",
    )
    lora_alpha: float | None = option(
        None,
        "The changes are multiplied by this over the rank; by default 8, as PEFT's.",
        range=(1e-6, 1e6),
        resume="never",
        reason="the adapter has learned with it",
    )
    lora_targets: list[str] | None = option(
        None,
        "Which, by the ends of their names in Hugging Face's model: query and value by default, "
        "key, attention.output.dense, intermediate.dense, output.dense.",
        resume="never",
        reason="the adapter is of these matrices",
    )
    lora_dropout: float | None = option(
        None,
        "Dropout of what the changes read, in training; by default 0.",
        range=(0, 0.99),
    )
    ema_decay: float | None = option(
        None,
        "Evaluate and save an exponential moving average of the parameters with this decay.",
        range=(1e-4, 0.99999),
        resume="never",
        reason="the average is of all steps of a run",
    )
    swa_start: float | None = option(
        None,
        "Evaluate and save the mean of the parameters after each step from this one on; below 1 "
        "it is a part of all steps.",
        range=(0, 1e9),
        resume="never",
        reason="the average is of all steps of a run",
    )
    shard_optimizer: bool = option(
        False,
        "Each device has a part of the optimizer's state: less memory, and more on the wires.",
        resume="free",
    )
    loss: str = option(
        "cross_entropy",
        "Name of the loss, or FILE.py:FUNCTION; or several with their weights: a:1.0 b:0.5.",
        joined=True,
    )
    loss_weights: str | None = option(
        None, "FILE.py:FUNCTION, (step) -> weights of several losses, in place of their numbers."
    )
    loss_args: str | None = option(
        None, """Its options as JSON: '{"smoothing": 0.1}'.""", json=True
    )
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory, more time."
    )
    scan_layers: bool = option(
        False, "Compile one layer and loop over it: compiling is faster, training slower."
    )
    profile_steps: str | None = option(
        None,
        "FIRST:LAST, steps whose trace goes to --output_dir/profile, for XProf or Perfetto.",
        resume="free",
    )

    def training_source(self) -> Source:
        """Where the examples to be learned from come from, and which of them."""
        return dataclasses.replace(super().training_source(), seed=self.seed)

    def data(self) -> DataKeywords:
        """The examples to learn from and those held out."""
        return {
            "training": self.training_source(),
            "validation": self.validation_source(),
            "names": self.own_columns(),
            "needed_by": self.comparing_models,
            "cache_dir": self.cache_dir,
        }

    def loss_choice(self) -> LossKeywords:
        """Which loss it is, of those of a task and of files."""
        return {"name": self.loss, "loss_args": self.loss_args, "loss_weights": self.loss_weights}

    def step(self, accumulation: int | None = None) -> StepKeywords:
        """What is computed in a step, beside model, loss and optimizer.

        Args:
            accumulation: micro-batches; by default as many as the options say.
        """
        return {
            "accumulate": accumulation or self.gradient_accumulation_steps,
            "frozen": self.frozen,
            "unfreeze_step": self.unfreeze_step,
            "remat": self.gradient_checkpointing,
            "scan": self.scan_layers,
        }

    def batches(self) -> BatchKeywords:
        """What batches are made of, beside the features and how many rows there are."""
        return {
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
            "packing": self.packing,
            "length_bucket": self.length_bucket,
            "seed": self.seed,
        }

    def schedule(self) -> ScheduleKeywords:
        """The learning rate by step."""
        return {
            "peak": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "warmup_ratio": self.warmup_ratio,
            "decay": self.lr_scheduler_type,
        }

    def learning(self) -> LearningKeywords:
        """What decides the batches and how the loss is tried."""
        return {
            "seed": self.seed,
            "dtype": self.dtype,
            "packing": self.packing,
            "length_bucket": self.length_bucket,
            "own_columns": self.own_columns(),
        }

    def plan(self) -> PlanKeywords:
        """When what is done, as far as the data do not decide it."""
        return {
            "metric_for_best_model": self.metric_for_best_model,
            "num_train_epochs": self.num_train_epochs,
            "max_steps": self.max_steps,
            "logging_steps": self.logging_steps,
            "eval_steps": self.eval_steps,
            "save_steps": self.save_steps,
            "early_stopping_patience": self.early_stopping_patience,
            "max_nonfinite_steps": self.max_nonfinite_steps,
            "load_best_model_at_end": self.load_best_model_at_end,
        }

    @property
    def frozen(self) -> Sequence[str]:
        """The modules that are not trained, of an adapted model its own too."""
        own = () if self.lora_rank is None else FROZEN_BY_LORA
        return *own, *(self.freeze or ())

    def lora(self) -> LoraKeywords | None:
        """How matrices of the model are adapted; None where they are not.

        Raises:
            InputError: options contradict each other.
        """
        if self.lora_rank is None:
            given = ("lora_alpha", "lora_targets", "lora_dropout")
            for name in given:
                if getattr(self, name) is not None:
                    raise InputError(f"--{name} is of an adapter; give --lora_rank too")
            return None
        if self.unfreeze_step:
            raise InputError("--unfreeze_step is not for --lora_rank, whose encoder stays frozen")
        for name in self.freeze or ():
            if name != "pooler":
                raise InputError(
                    f"--freeze {name}: --lora_rank has frozen the encoder and trains the head; "
                    "beside it there is only pooler to freeze"
                )
        return {
            "rank": self.lora_rank,
            "alpha": 8.0 if self.lora_alpha is None else self.lora_alpha,
            "targets": self.lora_targets,
            "base": self.model_name_or_path,
            "dropout": self.lora_dropout or 0.0,
        }

    def rule(self) -> RuleKeywords:
        """The optimizer itself, but for its name.

        Raises:
            InputError: options of what is around it contradict each other.
        """
        if self.unfreeze_step and not self.freeze:
            raise InputError("--unfreeze_step: nothing is frozen; give --freeze too")
        if self.ema_decay is not None and self.swa_start is not None:
            raise InputError("--ema_decay and --swa_start: one model is saved; give one of them")
        if self.head_learning_rate is not None and not self.learning_rate:
            raise InputError(
                "--head_learning_rate with --learning_rate 0: for a head alone give --freeze bert "
                "and its --learning_rate"
            )
        adam = ("adam_beta1", "adam_beta2", "adam_epsilon")
        usual = {s.name: s.default for s in settings_of(TrainingOptions) if s.name in adam}
        values: dict[str, float] = {name: getattr(self, name) for name in adam}
        return {
            "optim_args": self.optim_args,
            "adam": {name: x for name, x in values.items() if x != usual[name]},
            "weight_decay": self.weight_decay,
        }

    def optimizer(self) -> OptimizerKeywords:
        """What is around the optimizer, but for its schedule."""
        rate = self.learning_rate or 1.0
        head_rate = rate if self.head_learning_rate is None else self.head_learning_rate
        return {
            "weight_decay": self.weight_decay,
            "clip_norm": self.max_grad_norm,
            "frozen": self.frozen,
            "unfreeze_step": self.unfreeze_step,
            "layer_decay": self.layerwise_lr_decay,
            "head_factor": head_rate / rate,
            "ema_decay": self.ema_decay,
            "swa_start": self.swa_start,
        }


@dataclasses.dataclass(frozen=True)
class AssessmentOptions(SourceOptions, ModelOptions):
    """What an evaluation or a calibration needs beside the task's own options."""

    GROUP = "results and checkpoints"

    output_dir: str | None = option(
        None, "Where metrics and predictions go.", resume="free", address=True
    )


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(AssessmentOptions):
    """What an evaluation needs beside the task's own options."""

    GROUP = "results and checkpoints"

    report_to: list[str] | None = option(
        None, "none leaves out report.html; there are no curves to send.", resume="free"
    )
