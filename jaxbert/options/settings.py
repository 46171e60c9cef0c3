"""Options: frozen dataclasses whose fields are the flags of the scripts.

Names are those of Hugging Face's run_qa and Trainer wherever they have the option, and so are the
defaults that decide the trained parameters: a migrating command keeps its meaning. How often a run
evaluates, logs and saves is our own. options.json beside a checkpoint holds them as used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypedDict

from jaxbert.options.fields import Settings, option

# The groups of --help, in this order. Each dataclass says which one its options are in.
GROUPS = (
    "model",
    "data",
    "the task and its rows",
    "training",
    "results and checkpoints",
    "calibration",
    "devices, speed and debugging",
)


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
        "A folder for tokenized data: the next start reads them from there, by memory map.",
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


class EncodingKeywords(TypedDict):
    """Keywords of runs.encoding.encode_examples."""

    cache_dir: str | None
    workers: int | None


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
class Source:
    """Where the examples of one split come from: files, else a data set.

    Attributes:
        training: whether they are to be learned from, else scored.
        dataset_name, dataset_config_name: of a data set of the Hub, or a folder.
        validation_split: its split to be scored; by default its own validation split.
        limit: the most examples to take, from the first.
    """

    training: bool
    files: Sequence[str] | None
    dataset_name: str | None
    dataset_config_name: str | None
    validation_split: str | None
    limit: int | None

    @property
    def label(self) -> str:
        """What a message calls it."""
        return ", ".join(self.files or [f"--dataset_name {self.dataset_name}"])


@dataclasses.dataclass(frozen=True)
class SourceOptions(Settings):
    """Where examples come from."""

    GROUP = "data"

    validation_file: list[str] | None = option(
        None, "One or more files to evaluate on.", resume="free", address=True, names_input=True
    )
    dataset_name: str | None = option(
        None,
        "A data set of the Hub, or a local data-set folder.",
        resume="free",
        path=True,
        names_input=True,
    )
    dataset_config_name: str | None = option(
        None, "Its configuration.", resume="free", names_input=True
    )
    validation_split: str | None = option(
        None,
        "The split of the data set to evaluate on, for instance test; by default validation.",
        resume="free",
        names_input=True,
    )
    max_eval_samples: int | None = option(
        None, "Evaluate on the first N examples at most.", range=(1, 1e12), resume="examples"
    )

    def validation_source(self) -> Source:
        """Where the examples to be scored come from."""
        return Source(
            training=False,
            files=self.validation_file,
            dataset_name=self.dataset_name,
            dataset_config_name=self.dataset_config_name,
            validation_split=self.validation_split,
            limit=self.max_eval_samples,
        )


@dataclasses.dataclass(frozen=True)
class ReadingOptions(Settings):
    """How every task's rows are read."""

    GROUP = "data"

    strict: bool = option(
        False, "Stop at the first faulty row instead of reporting it.", resume="free"
    )


@dataclasses.dataclass(frozen=True)
class TrainingDataOptions(SourceOptions):
    """What a model learns from."""

    GROUP = "data"

    train_file: list[str] | None = option(
        None, "One or more files to train on.", resume="free", address=True, names_input=True
    )
    max_train_samples: int | None = option(
        None, "Train on the first N examples at most.", range=(1, 1e12), resume="examples"
    )

    def training_source(self) -> Source:
        """Where the examples to be learned from come from."""
        return Source(
            training=True,
            files=self.train_file,
            dataset_name=self.dataset_name,
            dataset_config_name=self.dataset_config_name,
            validation_split=None,
            limit=self.max_train_samples,
        )


class UploadKeywords(TypedDict):
    """Keywords of what asks the Hub, in runs.train."""

    push: bool
    name: str | None
    private: bool


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
        1, "A line of train_log.jsonl every so many steps.", range=(1, 1e9), resume="free"
    )
    eval_steps: int | None = option(
        None, "Evaluate every so many steps; by default every epoch.", range=(1, 1e9)
    )
    save_steps: int | None = option(
        None, "Save every so many steps; by default every epoch.", range=(1, 1e9), resume="free"
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
        "Send curves to tensorboard (a folder in --output_dir), wandb or mlflow, or to none.",
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
        "Stop when so many evaluations in a row are not better than the best.",
        range=(1, 1e9),
    )

    def upload(self) -> UploadKeywords:
        """Whether and where the model is uploaded."""
        return {
            "push": self.push_to_hub,
            "name": self.hub_model_id,
            "private": self.hub_private_repo,
        }

    @property
    def comparing_models(self) -> list[str]:
        """The options given that ask which of two models is better, and so for validation data."""
        names = ("load_best_model_at_end", "early_stopping_patience", "metric_for_best_model")
        return [name for name in names if getattr(self, name)]


class AdamWSettings(TypedDict):
    """Keywords of training.optim.adamw."""

    weight_decay: float
    clip_norm: float
    b1: float
    b2: float
    eps: float
    frozen: Sequence[str]


class StepKeywords(TypedDict):
    """Keywords of runs.run_step.make_step."""

    accumulate: int
    frozen: Sequence[str]
    remat: bool
    scan: bool


class BatchKeywords(TypedDict):
    """Keywords of runs.plan.make_sampler that the options alone decide."""

    gradient_accumulation_steps: int
    packing: bool
    length_bucket: int
    seed: int


@dataclasses.dataclass(frozen=True)
class TrainingOptions(CheckpointOptions, TrainingDataOptions, ModelOptions):
    """How a model learns, the same for every task."""

    GROUP = "training"

    seed: int = option(
        42, "Of the order of the data, dropout and new parameters.", range=(0, 2**32 - 1)
    )
    num_train_epochs: float = option(3.0, "Passes over the training data.", range=(0, 1e6))
    max_steps: int = option(-1, "Stop after so many steps instead, when above 0.", range=(-1, 1e9))
    per_device_train_batch_size: int = option(
        8,
        "Rows of a micro-batch on each device; auto: as many as fit in a GPU's or TPU's memory.",
        range=(1, 65536),
        auto=True,
    )
    packing: bool = option(False, "Put several windows in one row: hardly any padding is computed.")
    gradient_accumulation_steps: int = option(1, "Micro-batches of a step.", range=(1, 65536))
    learning_rate: float = option(5e-5, "The highest learning rate.", range=(0, 1e3))
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = option(
        "linear", "How the learning rate falls after the warmup; constant has no warmup."
    )
    warmup_ratio: float = option(
        0.0, "Part of the steps in which the learning rate rises.", range=(0, 1)
    )
    warmup_steps: int = option(0, "The same in steps, when above 0.", range=(0, 1e9))
    weight_decay: float = option(0.0, "Of all parameters but biases and LayerNorm.", range=(0, 1e3))
    adam_beta1: float = option(0.9, "AdamW's beta 1.", range=(0, 0.999999))
    adam_beta2: float = option(0.999, "AdamW's beta 2.", range=(0, 0.99999999))
    adam_epsilon: float = option(1e-8, "AdamW's epsilon.", range=(1e-12, 1))
    max_grad_norm: float = option(
        1.0, "Gradients are clipped to this norm; 0 does not clip.", range=(0, 1e9)
    )
    max_nonfinite_steps: int = option(
        3,
        "Steps whose loss or gradient is not finite are skipped; so many in a row end the run.",
        range=(1, 1e6),
        resume="free",
    )
    freeze: list[str] | None = option(
        None,
        "Modules that stay as they are: embeddings, layer_0, layer_1, ..., bert.",
        resume="never",
        reason="what is frozen cannot be changed, since the optimizer has no state of it",
    )
    loss: str = option("cross_entropy", "Name of the loss, or FILE.py:FUNCTION.")
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

    def step(self) -> StepKeywords:
        """What is computed in a step, beside model, loss and optimizer."""
        return {
            "accumulate": self.gradient_accumulation_steps,
            "frozen": self.freeze or (),
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

    def adamw(self) -> AdamWSettings:
        """All of the optimizer but its schedule."""
        return {
            "weight_decay": self.weight_decay,
            "clip_norm": self.max_grad_norm,
            "b1": self.adam_beta1,
            "b2": self.adam_beta2,
            "eps": self.adam_epsilon,
            "frozen": self.freeze or (),
        }


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(SourceOptions, ModelOptions):
    """What an evaluation needs beside the task's own options."""

    GROUP = "results and checkpoints"

    output_dir: str | None = option(
        None, "Where metrics and predictions go.", resume="free", address=True
    )
