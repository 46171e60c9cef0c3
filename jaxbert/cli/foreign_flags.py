"""The flags of other scripts, as data: what jaxbert makes of each. See migrating.py.

They are those of TrainingArguments and of transformers' example scripts (run_glue, run_qa, run_ner,
run_swag, run_mlm, their Flax and no_trainer forms, run_classification), those of the scripts of its
earlier versions (run_squad), and of google-research/bert. docs/migrating.md is the table to read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from jaxbert.cli.migrating import Answer, Case, Flags, Foreign
from jaxbert.model.families import FAMILIES
from jaxbert.model.folders import FROM_TENSORFLOW
from jaxbert.options.settings import AssessmentOptions
from jaxbert.options.task_settings import (
    ClassificationOptions,
    ClassificationTrainOptions,
    MLMOptions,
    QAOptions,
    RegressionOptions,
    RegressionTrainOptions,
    TaggingOptions,
    TextOptions,
)
from jaxbert.options.user_function import PREFIX

# Of GLUE: the names on the Hub, by those that scripts have had.
GLUE = {
    **{name: name for name in ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "wnli")},
    **{"sst2": "sst2", "sst-2": "sst2", "stsb": "stsb", "sts-b": "stsb"},
}
_ADAMW = frozenset(
    (
        *("adamw_hf", "adamw_torch", "adamw_torch_fused", "adamw_torch_xla"),
        *("adamw_torch_npu_fused", "adamw_apex_fused"),
    )
)
OPTIMIZERS = ("adamw", "lamb", "lion", "adafactor", "sgd")  # jaxbert's own
_LION = frozenset(("lion_32bit", "paged_lion_32bit"))
# Scores of which the lower one is better.
_FALLING = frozenset(
    ("loss", "eval_loss", "perplexity", "eval_perplexity", "mse", "eval_mse", "mean_squared_error")
)
_TRUE, _FALSE = frozenset({"true"}), frozenset({"false"})


def _taken(*words: str, text: str = "") -> Answer:
    return Answer("taken", text, words)


def _understood(text: str) -> Answer:
    return Answer("understood", text)


def _refused(text: str, *words: str) -> Answer:
    return Answer("refused", text, words)


def _for(*values: str) -> frozenset[str]:
    return frozenset(values)


def _fraction(value: str, flags: Flags) -> bool:
    """A number between 0 and 1: in transformers 5 a part of the steps."""
    try:
        return 0 < float(value) < 1
    except ValueError:
        return False


def _names_newest(value: str, flags: Flags) -> bool:
    """It is the run in --output_dir, or the newest checkpoint there."""
    output, path = Path(flags.get("output_dir", "")).expanduser(), Path(value).expanduser()
    checkpoints = output / "checkpoints"
    if not flags.get("output_dir") or not checkpoints.is_dir():
        return False
    steps = [int(each.name) for each in checkpoints.iterdir() if each.name.isdecimal()]
    places = [output, checkpoints, *(checkpoints / str(n) for n in [max(steps, default=0)])]
    return path.exists() and path.resolve() in [place.resolve() for place in places]


def _begun(value: str, flags: Flags) -> bool:
    """False is asked for, and --output_dir has a run."""
    output = flags.get("output_dir", "")
    return value.lower() == "false" and (Path(output, "options.json").expanduser()).exists()


def _cased(value: str, flags: Flags) -> bool:
    """Lower case is asked for, and the model's name says that it is cased."""
    name = flags.get("model_name_or_path", "").lower()
    return value == "true" and "cased" in name.replace("uncased", "")


def _uncased(value: str, flags: Flags) -> bool:
    """The case is to be kept, and the model's name says that it is uncased."""
    return value == "false" and "uncased" in flags.get("model_name_or_path", "").lower()


def _other_tracker(value: str, flags: Flags) -> bool:
    """Among the words is one to which no curves are sent."""
    return bool(set(value.lower().split()) - {"tensorboard", "wandb", "mlflow", "none"})


def _tracker(value: str, flags: Flags) -> bool:
    """Another program."""
    return value.lower() != "none"


def _other_optimizer(value: str, flags: Flags) -> bool:
    """Neither one of jaxbert's nor a function."""
    return (
        value not in OPTIMIZERS
        and ":" not in value
        and not value.endswith(".py")
        and (not value.startswith(PREFIX))
    )


def _no_object(value: str, flags: Flags) -> bool:
    """It is no JSON object."""
    return not value.strip().startswith("{")


def _other_glue(value: str, flags: Flags) -> bool:
    return value.lower() not in GLUE


def _flag(
    name: str,
    takes: Literal["switch", "one", "several"],
    answers: tuple[Case | Answer, ...],
    training: bool,
) -> Foreign:
    cases = tuple(a if isinstance(a, Case) else Case(a) for a in answers)
    return Foreign(name, takes, cases, training)


def _switch(name: str, *answers: Case | Answer, training: bool = False) -> Foreign:
    return _flag(name, "switch", answers, training)


def _one(name: str, *answers: Case | Answer, training: bool = False) -> Foreign:
    return _flag(name, "one", answers, training)


def _several(name: str, *answers: Case | Answer, training: bool = False) -> Foreign:
    return _flag(name, "several", answers, training)


_BFLOAT16 = ("--dtype", "bfloat16")
_FLOAT16 = ("--dtype", "float16")
_CPU = Answer("taken", "the run computes on the CPU", cpu=True)
_AT_THE_END = _understood("--push_to_hub uploads the model once, when the run is done")
_DDP = _understood("devices are XLA's, which has no such setting")
_LOADER = _understood("batches are prepared in a thread while the device computes")
_TRACKER = _understood("curves go to train_log.jsonl, and elsewhere by the name of --output_dir")
_SHARDED = _refused(
    "every device has all parameters, and a training's `--shard_optimizer` divides the optimizer's "
    "state; several devices are used without a flag, and several processes are started by "
    "`python -m jaxbert.launch`; leave it out"
)
_CHECKPOINT = _refused(FROM_TENSORFLOW, "--model_name_or_path", "DIR")
_SECRET = _refused(
    "a token on a command line is seen by everybody on the machine; set HF_TOKEN in the "
    "environment, or log in by `hf auth login`, and leave it out"
)
_EVERY_EPOCH = _understood("it is done after every epoch")
_TPU = _refused(
    "JAX takes the TPU of its own machine (`pip install -e '.[tpu]'`; with JAX_PLATFORMS=tpu it "
    "fails where there is none); leave it out"
)


# What TrainingArguments of the installed transformers has beside the options of that name here.
TRAINING_ARGUMENTS = (
    # --- what is trained, and how ---
    _one("lr_scheduler_kwargs", _refused("a schedule has no other settings"), training=True),
    _one(
        "warmup_steps",  # an option here too, for whole numbers
        Case(_taken("--warmup_ratio", "{}"), _fraction),
        training=True,
    ),
    _one(
        "optim",  # an option here too
        Case(_understood("the optimizer is AdamW"), _ADAMW),
        Case(_taken("--optim", "lion"), _LION),
        Case(
            _refused(
                f"there are {', '.join(OPTIMIZERS)}, whose state is float32; for another one write "
                "a function of optax",
                *("--optim", "FILE.py:FUNCTION"),
            ),
            _other_optimizer,
        ),
        training=True,
    ),
    _one(
        "optim_args",  # an option here too
        Case(_refused("its options are JSON", "--optim_args", '{"momentum": 0.9}'), _no_object),
        training=True,
    ),
    _several(
        "optim_target_modules",
        _refused("the optimizer is for all parameters; leave it out"),
        training=True,
    ),
    _switch(
        "average_tokens_across_devices",
        _understood("the loss of a step is a mean over all devices and micro-batches"),
        Case(_refused("the loss of a step is a mean over all devices; leave it out"), _FALSE),
        training=True,
    ),
    _one(
        "label_smoothing_factor",
        Case(_understood("labels are not smoothed"), _for("0")),
        Case(
            _refused(
                "Hugging Face's Trainer does not apply it to question answering; leave it out, or "
                "for smoothing over positions",
                "--loss",
                "label_smoothing",
            ),
            of=(QAOptions,),
        ),
        Case(_refused("numbers have no classes to smooth; leave it out"), of=(RegressionOptions,)),
        Case(
            _refused(
                "--loss is given too, so leave it out",
                *("--loss_args", '{"smoothing": 0.1}'),
            ),
            beside=("loss", None),
        ),
        _taken("--loss", "label_smoothing", "--loss_args", '{"smoothing": {}}'),
        training=True,
    ),
    _switch("bf16", _taken(*_BFLOAT16)),
    _switch("fp16", _taken(*_FLOAT16)),
    _switch(
        "bf16_full_eval",
        Case(_taken(*_BFLOAT16), of=(AssessmentOptions,)),
        _refused("training and evaluation have one type", *_BFLOAT16),
    ),
    _switch(
        "fp16_full_eval",
        Case(_taken(*_FLOAT16), of=(AssessmentOptions,)),
        _refused("training and evaluation have one type", *_FLOAT16),
    ),
    _switch(
        "tf32",
        _understood("JAX multiplies float32 as TF32 on the GPUs that have it"),
        Case(_taken("--matmul_precision", "highest"), _FALSE),
    ),
    _switch("activation_checkpointing", _taken("--gradient_checkpointing"), training=True),
    _one(
        "activation_checkpointing_kwargs",
        _understood("they are PyTorch's; whole layers are computed again"),
        training=True,
    ),
    _one(
        "gradient_checkpointing_kwargs",
        _understood("they are PyTorch's; whole layers are computed again"),
        training=True,
    ),
    _switch("torch_compile", _understood("every step is compiled, by XLA")),
    _one("torch_compile_backend", _understood("the compiler is XLA")),
    _one("torch_compile_mode", _understood("the compiler is XLA")),
    _switch("use_liger_kernel", _understood("kernels are XLA's; see --attention"), training=True),
    _one("liger_kernel_config", _understood("kernels are XLA's; see --attention"), training=True),
    _switch("use_cache", _understood("an encoder has no cache")),
    _one(
        "neftune_noise_alpha",
        Case(_understood("there is no noise"), _for("0")),
        _refused("embeddings get no noise; leave it out"),
        training=True,
    ),
    _one("torch_empty_cache_steps", _understood("memory is XLA's"), training=True),
    _switch(
        "auto_find_batch_size",
        _refused(
            "choose one that fits",
            *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"),
        ),
        training=True,
    ),
    # --- logs ---
    _one(
        "logging_strategy",
        Case(_understood("train_log.jsonl has a line every --logging_steps"), _for("steps")),
        _refused("train_log.jsonl has a line every N steps", "--logging_steps", "100"),
        training=True,
    ),
    _switch(
        "logging_first_step",
        Case(
            _understood("every step is logged"),
            beside=("logging_steps", _for("1")),
        ),
        Case(
            _refused("the steps that are logged are multiples of --logging_steps; leave it out"),
            beside=("logging_steps", None),
        ),
        _understood("every step is logged"),
        training=True,
    ),
    _switch("log_on_each_node", _understood("the first process alone writes the log")),
    _switch(
        "logging_nan_inf_filter",
        _understood("a step that is not finite is skipped and counted"),
        training=True,
    ),
    _one(
        "include_num_input_tokens_seen",
        Case(_understood("they are not counted"), _for("no", "false")),
        _refused("train_log.jsonl has tokens_per_second; leave it out"),
        training=True,
    ),
    _one("log_level", _understood("there is one level of messages, on standard output")),
    _one("log_level_replica", _understood("the first process speaks for all")),
    _switch("disable_tqdm", _understood("the progress bar goes to standard error: 2>/dev/null")),
    _several(
        "report_to",  # an option here too, for those that are known
        Case(_understood("train_log.jsonl is the log"), _for("[]")),
        Case(
            _understood("an evaluation has no curves"),
            _tracker,
            of=(AssessmentOptions,),
        ),
        Case(
            _refused(
                "curves are sent to tensorboard, wandb or mlflow; name them",
                *("--report_to", "tensorboard"),
            ),
            _other_tracker,
        ),
        training=True,
    ),
    _one("run_name", _TRACKER),
    _one("project", _TRACKER),
    _one("trackio_space_id", _TRACKER),
    _one("trackio_bucket_id", _TRACKER),
    _one("trackio_static_space_id", _TRACKER),
    # --- evaluation ---
    _one(
        "eval_strategy",
        Case(
            _refused("the best model is found by evaluations", "--eval_steps", "500"),
            _for("no"),
            beside=("load_best_model_at_end", None),
        ),
        Case(
            _refused("--eval_steps is given too; leave one of them out"),
            _for("no", "epoch"),
            beside=("eval_steps", None),
        ),
        Case(
            _taken("--eval_steps", "1000000000", text="(once, at the end of the run)"),
            _for("no"),
        ),
        Case(_EVERY_EPOCH, _for("epoch")),
        Case(
            _understood("it is done every --eval_steps"),
            _for("steps"),
            beside=("eval_steps", None),
        ),
        Case(_refused("say how many", "--eval_steps", "500"), _for("steps")),
        _refused("it is no, steps or epoch"),
        training=True,
    ),
    _one(
        "eval_delay",
        Case(_understood("the first evaluation is not late"), _for("0")),
        _refused("evaluations come at even distances", "--eval_steps", "500"),
        training=True,
    ),
    _switch("prediction_loss_only", _understood("scores are computed too")),
    _switch(
        "eval_on_start",
        _refused("the first evaluation comes after --eval_steps; leave it out"),
        training=True,
    ),
    _switch("eval_do_concat_batches", _understood("scores are of all predictions at once")),
    _switch("eval_use_gather_object", _understood("predictions are gathered as arrays")),
    _one("eval_accumulation_steps", _understood("predictions go to the host with every batch")),
    _several("include_for_metrics", _understood("scores have all that they need")),
    _switch("batch_eval_metrics", _understood("scores are of all predictions at once")),
    _one(
        "greater_is_better",
        Case(
            _understood("the score says it itself"),
            _FALSE,
            beside=("metric_for_best_model", _FALLING),
        ),
        Case(
            _refused("of this score the lower one is better; leave it out"),
            beside=("metric_for_best_model", _FALLING),
        ),
        Case(
            _refused("of this score the higher one is better; leave it out"),
            _FALSE,
            beside=("metric_for_best_model", None),
        ),
        Case(
            _understood("the score says it itself"),
            beside=("metric_for_best_model", None),
        ),
        Case(_understood("the score is perplexity, the lower the better"), _FALSE, (MLMOptions,)),
        Case(
            _refused("the score is perplexity, the lower the better; leave it out"),
            of=(MLMOptions,),
        ),
        Case(
            _refused(
                "without --metric_for_best_model the score is one of which the higher one is "
                "better; leave it out"
            ),
            _FALSE,
        ),
        _understood("the score says it itself"),
        training=True,
    ),
    # --- checkpoints ---
    _switch(
        "save_only_model",
        _refused(
            "a run can be resumed because its checkpoints have the optimizer; to keep few",
            "--save_total_limit",
            "2",
        ),
        training=True,
    ),
    _one(
        "save_strategy",
        Case(
            _refused("--save_steps is given too; leave one of them out"),
            _for("no", "epoch", "best"),
            beside=("save_steps", None),
        ),
        Case(_EVERY_EPOCH, _for("epoch")),
        Case(
            _understood("it is done every --save_steps"), _for("steps"), beside=("save_steps", None)
        ),
        Case(_taken("--save_steps", "500"), _for("steps")),
        Case(
            _refused(
                "the best checkpoint is kept beside the newest ones; leave it out, and to "
                "save the best model",
                "--load_best_model_at_end",
            ),
            _for("best"),
        ),
        Case(
            _refused(
                "a run saves before it evaluates and at its end, so that it can be resumed; "
                "leave it out, or to save less often",
                "--save_steps",
                "1000",
            ),
            _for("no"),
        ),
        _refused("it is steps or epoch"),
        training=True,
    ),
    _switch(
        "save_on_each_node", _refused("the first process writes alone; leave it out"), training=True
    ),
    _switch(
        "enable_jit_checkpoint",
        _understood("SIGTERM saves the run, and the same command resumes it"),
        training=True,
    ),
    Foreign("hub_token", "one", (Case(_SECRET),), secret=True),
    _one(
        "hub_strategy",
        Case(_AT_THE_END, _for("end", "every_save")),
        _refused("the finished model is uploaded, no checkpoint; leave it out"),
        training=True,
    ),
    _switch("hub_always_push", _AT_THE_END, training=True),
    _one("hub_revision", _refused("the main branch takes the model; leave it out")),
    _switch(
        "ignore_data_skip",
        _refused("a run that is resumed continues with the next example; leave it out"),
        training=True,
    ),
    _switch(
        "restore_callback_states_from_checkpoint",
        _understood("checkpoints hold the patience of early stopping and the best score"),
        training=True,
    ),
    _one(
        "resume_from_checkpoint",
        Case(
            _refused(
                "--output_dir has a run, which is resumed; for a new one",
                "--overwrite_output_dir",
            ),
            _begun,
        ),
        Case(_understood("the run in --output_dir is resumed, if there is one"), _for("true", "1")),
        Case(_understood("the run in --output_dir is resumed"), _names_newest),
        _refused(
            "a run is resumed in its own folder, from the newest checkpoint there, so leave it out",
            "--output_dir",
            "DIR",
        ),
        training=True,
    ),
    # --- reproducibility, devices, data ---
    _switch(
        "full_determinism",
        _understood("equal inputs have equal bits, on a CPU and by --parallel jit on a GPU"),
    ),
    _one(
        "data_seed",
        _refused("the order of the data is drawn from --seed too; leave it out"),
        training=True,
    ),
    _switch("use_cpu", _CPU),
    _one("accelerator_config", _refused("there is no accelerate here; leave it out")),
    _one("parallelism_config", _SHARDED),
    _switch(
        "dataloader_drop_last",
        _refused("no example is left out: an epoch ends with a shorter batch; leave it out"),
        training=True,
    ),
    _one("dataloader_num_workers", _LOADER),
    _switch("dataloader_pin_memory", _LOADER),
    _switch("dataloader_persistent_workers", _LOADER),
    _one("dataloader_prefetch_factor", _LOADER),
    _one("dataloader_multiprocessing_context", _LOADER),
    _switch("dataloader_in_order", _LOADER),
    _switch("remove_unused_columns", _understood("columns that are not needed are not read")),
    _several("label_names", _refused("the arrays of a batch have fixed names; leave it out")),
    _one(
        "train_sampling_strategy",
        Case(_understood("examples come in an order drawn from --seed"), _for("random")),
        Case(
            _understood("windows of like length share a batch, by --length_bucket"),
            _for("group_by_length"),
        ),
        _refused("examples come in an order drawn from --seed; leave it out"),
        training=True,
    ),
    _one("length_column_name", _understood("lengths are counted")),
    _switch("ddp_find_unused_parameters", _DDP),
    _one("ddp_bucket_cap_mb", _DDP),
    _switch("ddp_broadcast_buffers", _DDP),
    _switch("ddp_static_graph", _DDP),
    _one("ddp_backend", _DDP),
    _one("ddp_timeout", _DDP),
    _several("fsdp", _SHARDED),
    _one("fsdp_config", _SHARDED),
    _one("deepspeed", _SHARDED),
    _several(
        "debug",  # an option here too, a switch
        Case(
            _refused("a step that is not finite is skipped and counted; leave it out"),
            _for("underflow_overflow", "tpu_metrics_debug"),
        ),
    ),
    _switch(
        "skip_memory_metrics",
        _understood("memory is not measured"),
        Case(_refused("memory is not measured; leave it out"), _FALSE),
    ),
    _switch(
        "do_train",
        Case(
            _refused("train with the script of this name in train/; leave it out"),
            of=(AssessmentOptions,),
        ),
        _understood("scripts in train/ train"),
    ),
    _switch("do_eval", _understood("where there is validation data, it is evaluated")),
    _switch(
        "do_predict",
        Case(_understood("predictions.json has the predictions"), of=(AssessmentOptions,)),
        _understood("scripts in eval/ predict"),
    ),
    _one(
        "local_rank",
        Case(_understood("there is one process"), _for("-1")),
        _refused(
            "`torchrun` does not start jaxbert's processes, `python -m jaxbert.launch -n 2 -- "
            "SCRIPT` does; leave it out"
        ),
    ),
)

_BY_NAME = {flag.name: flag for flag in TRAINING_ARGUMENTS}

# What TrainingArguments had in earlier versions.
EARLIER_TRAINING_ARGUMENTS = (
    dataclasses.replace(_BY_NAME["eval_strategy"], name="evaluation_strategy"),
    _one("per_gpu_train_batch_size", _taken("--per_device_train_batch_size", "{}"), training=True),
    _one("per_gpu_eval_batch_size", _taken("--per_device_eval_batch_size", "{}")),
    _switch("no_cuda", _CPU),
    _switch("use_mps_device", _refused("jaxbert has not been tried on Metal; leave it out")),
    _switch("adafactor", _taken("--optim", "adafactor"), training=True),
    _switch(
        "group_by_length",
        _understood("windows of like length share a batch, by --length_bucket"),
        training=True,
    ),
    _switch(
        "save_safetensors",
        _understood("safetensors is the format"),
        Case(_refused("the format is safetensors; leave it out"), _FALSE),
    ),
    _one("logging_dir", _TRACKER),
    _switch(
        "evaluate_during_training", _refused("say how often", "--eval_steps", "500"), training=True
    ),
    _one("fp16_opt_level", _understood("float16 is for activations alone, with a scaled loss")),
    _one("fp16_backend", _understood("there is one way to compute in float16")),
    _one("half_precision_backend", _understood("there is one way to compute in float16")),
    _switch("jit_mode_eval", _understood("every step is compiled, by XLA")),
    _switch("use_ipex", _understood("every step is compiled, by XLA")),
    _one("torchdynamo", _understood("every step is compiled, by XLA")),
    _one("mp_parameters", _SHARDED),
    _one("sharded_ddp", _SHARDED),
    _one("fsdp_min_num_params", _SHARDED),
    _one("fsdp_transformer_layer_cls_to_wrap", _SHARDED),
    _one("tpu_num_cores", _refused("all devices are used; leave it out")),
    _switch("tpu_metrics_debug", _refused("TPU metrics are not printed; leave it out")),
    _one(
        "past_index",
        Case(_understood("an encoder has no past"), _for("-1")),
        _refused("an encoder has no past; leave it out"),
    ),
    _one("ray_scope", _understood("there is no search of hyperparameters")),
    _switch("dispatch_batches", _LOADER),
    _switch("split_batches", _refused("batch sizes are those of a device; leave it out")),
    _switch("include_inputs_for_metrics", _understood("scores have all that they need")),
    _switch("include_tokens_per_second", _understood("train_log.jsonl has tokens_per_second")),
    _one("push_to_hub_model_id", _taken("--hub_model_id", "{}"), training=True),
    _one(
        "push_to_hub_organization",
        _refused("name it with the model", "--hub_model_id", "ORGANIZATION/NAME"),
        training=True,
    ),
    Foreign("push_to_hub_token", "one", (Case(_SECRET),), secret=True),
)

# Models, data and the like in transformers' example scripts, Flax and no_trainer ones among them.
EXAMPLE_SCRIPTS = (
    Foreign("token", "one", (Case(_SECRET),), secret=True),
    Foreign(
        "use_auth_token",
        "perhaps",
        (Case(_understood("the Hub's client takes the token of `hf auth login` or HF_TOKEN")),),
        secret=True,
    ),
    _one(
        "model_revision",
        Case(_understood("the newest files of the model are taken"), _for("main")),
        _refused(
            "fetch it with `hf download NAME --revision REVISION --local-dir DIR`",
            "--model_name_or_path",
            "DIR",
        ),
    ),
    _switch(
        "use_fast_tokenizer",
        _understood("tokenizers are fast, with the same ids"),
        Case(_understood("tokenizers are fast, with the same ids"), _FALSE),
    ),
    _switch("use_slow_tokenizer", _understood("tokenizers are fast, with the same ids")),
    _switch("trust_remote_code", _refused("jaxbert runs no code of a model; leave it out")),
    _switch(
        "ignore_mismatched_sizes",
        _understood("a classifier for other classes is replaced by a random one"),
    ),
    _one(
        "model_type",
        Case(_understood("the model's config.json says what it is"), _for(*FAMILIES)),
        _refused(
            f"jaxbert has models of the types {', '.join(FAMILIES)}, so leave it out",
            "--model_name_or_path",
            "bert-base-uncased",
        ),
    ),
    _one(
        "config_overrides",
        _refused(
            "write the sizes in a config.json, as train/vocabulary.py does", "--config_name", "DIR"
        ),
    ),
    _one(
        "torch_dtype",
        Case(_understood("parameters are float32"), _for("auto", "float32")),
        _refused("parameters are float32; for short activations", *_BFLOAT16),
    ),
    _switch("low_cpu_mem_usage", _understood("weights are read tensor by tensor")),
    _one(
        "task_name",
        *(
            Case(
                _refused(f"it loads GLUE from the Hub, and --{name} is given too; leave one out"),
                of=kinds,
                beside=(name, None),
            )
            for name, kinds in (
                ("train_file", (ClassificationTrainOptions, RegressionTrainOptions)),
                ("validation_file", (TextOptions,)),
            )
        ),
        Case(
            _refused("GLUE has " + ", ".join(sorted(set(GLUE.values())))),
            _other_glue,
            of=(TextOptions,),
        ),
        Case(
            _refused("it has numbers, not classes: call train/regression.py or eval/regression.py"),
            _for("stsb", "sts-b"),
            of=(ClassificationOptions,),
        ),
        Case(
            _refused("it has classes: call train/classification.py or eval/classification.py"),
            lambda value, flags: GLUE[value.lower()] != "stsb",
            of=(RegressionOptions,),
        ),
        *(
            Case(
                _taken("--dataset_name", "nyu-mll/glue", "--dataset_config_name", name),
                _for(*(each for each in GLUE if GLUE[each] == name)),
                of=(TextOptions,),
            )
            for name in dict.fromkeys(GLUE.values())
        ),
        Case(
            _understood("columns ner_tags or tags have the labels"),
            _for("ner"),
            of=(TaggingOptions,),
        ),
        Case(
            _refused("name the column of the tags", "--label_column_name", "pos_tags"),
            of=(TaggingOptions,),
        ),
        Case(_understood("the data decide"), _for("swag", "squad", "mlm")),
        _refused("the script is the task; leave it out"),
    ),
    _switch(
        "overwrite_cache",
        _understood("--cache_dir is read where data and settings are equal"),
    ),
    _switch(
        "pad_to_max_length",
        _understood(
            "padding changes no result, so batches are padded to multiples of --length_bucket"
        ),
    ),
    _one(
        "validation_split_percentage",
        Case(_understood("nothing is held out of the training data"), _for("0")),
        _refused(
            "nothing is held out of the training data; split it, and give the other part",
            "--validation_file",
            "FILE",
        ),
        training=True,
    ),
    _one(
        "test_file",
        Case(_refused("here it is", "--validation_file", "FILE"), of=(AssessmentOptions,)),
        _refused(
            "predict with the script of this name in eval/, where it is",
            "--validation_file",
            "FILE",
        ),
    ),
    _one(
        "max_predict_samples",
        Case(_taken("--max_eval_samples", "{}"), of=(AssessmentOptions,)),
        _refused(
            "predict with the script of this name in eval/, where it is",
            "--max_eval_samples",
            "100",
        ),
    ),
    _switch("return_entity_level_metrics", _understood("entity_report.json has them")),
    _one(
        "metric_name",
        _understood("all scores are computed; --metric_for_best_model names the one that counts"),
        training=True,
    ),
    _one(
        "train_ref_file",
        Case(
            _refused("words of Chinese are found by a segmenter", "--words", "jieba"),
            of=(MLMOptions,),
        ),
        _refused("it is for masked language modelling; leave it out"),
    ),
    _one(
        "validation_ref_file",
        Case(
            _refused("words of Chinese are found by a segmenter", "--words", "jieba"),
            of=(MLMOptions,),
        ),
        _refused("it is for masked language modelling; leave it out"),
    ),
    _switch("streaming", _refused("it is for masked language modelling; leave it out")),
    _switch("half_precision", _taken(*_BFLOAT16)),
    # no_trainer
    _one("max_length", _taken("--max_seq_length", "{}")),
    _one("max_train_steps", _taken("--max_steps", "{}"), training=True),
    _one("num_warmup_steps", _taken("--warmup_steps", "{}"), training=True),
    _one(
        "checkpointing_steps",
        Case(_EVERY_EPOCH, _for("epoch")),
        _taken("--save_steps", "{}"),
        training=True,
    ),
    _switch(
        "with_tracking",
        _refused("name where its curves go", "--report_to", "tensorboard"),
        training=True,
    ),
    # run_classification
    _one(
        "text_column_names",
        Case(
            _refused("name them apart", "--text_column_name", "sentence1", "sentence2"),
            of=(TextOptions,),
        ),
        _refused("it is for classification; leave it out"),
    ),
    _switch(
        "do_regression",
        Case(_understood("numbers are learned"), of=(RegressionOptions,)),
        _refused("call train/regression.py or eval/regression.py"),
    ),
    _one("validation_split_name", _taken("--validation_split", "{}")),
    _one(
        "train_split_name",
        Case(_understood("the split is train"), _for("train")),
        _refused("the split is train; save another as a file", "--train_file", "FILE"),
        training=True,
    ),
    _switch(
        "shuffle_train_dataset",
        _understood("examples come in an order drawn from --seed"),
        training=True,
    ),
    _one("shuffle_seed", _refused("the order is drawn from --seed; leave it out"), training=True),
)

# run_squad.py and others of transformers 1 to 4, and google-research/bert.
OLD_SCRIPTS = (
    _one("bert_model", _taken("--model_name_or_path", "{}")),
    _one("predict_file", _taken("--validation_file", "{}")),
    _one(
        "data_dir",
        Case(_refused("name the files", "--validation_file", "FILE"), of=(AssessmentOptions,)),
        _refused("name the files", "--train_file", "FILE", "--validation_file", "FILE"),
    ),
    _switch(
        "do_lower_case",
        Case(
            _refused("the model is cased, and its tokenizer keeps capitals; leave it out"), _cased
        ),
        Case(
            _refused("the model is uncased, and its tokenizer lowers all; leave it out"), _uncased
        ),
        _understood("the model's own tokenizer settings decide"),
        Case(_understood("the model's own tokenizer settings decide"), _FALSE),
    ),
    _one(
        "vocab_file",
        _refused(
            "vocab.txt lies in the folder of the model, or in one of its own",
            "--tokenizer_name",
            "DIR",
        ),
    ),
    _one(
        "bert_config_file",
        _refused("config.json lies in the folder of the model", "--model_name_or_path", "DIR"),
    ),
    _one("init_checkpoint", _CHECKPOINT),
    _one(
        "train_batch_size",
        _refused(
            "it is a total; divide it by the number of devices",
            "--per_device_train_batch_size",
            "32",
        ),
        training=True,
    ),
    _one("predict_batch_size", _taken("--per_device_eval_batch_size", "{}")),
    _one("eval_batch_size", _taken("--per_device_eval_batch_size", "{}")),
    _one("warmup_proportion", _taken("--warmup_ratio", "{}"), training=True),
    _one("save_checkpoints_steps", _taken("--save_steps", "{}"), training=True),
    _one("iterations_per_loop", _understood("the loop is on the host"), training=True),
    _one(
        "max_query_length",
        _refused("questions are cut only where a window has no room for them; leave it out"),
    ),
    _switch("verbose_logging", _understood("rows that are repaired or left out are reported")),
    _one("threads", _understood("texts are tokenized in threads")),
    _one(
        "lang_id",
        Case(_understood("BERT has no languages to choose"), _for("0")),
        _refused("BERT has no languages to choose; leave it out"),
    ),
    _switch(
        "eval_all_checkpoints",
        _refused("evaluate while training", "--eval_steps", "500"),
        training=True,
    ),
    _one("server_ip", _refused("there is no remote debugger; leave it out")),
    _one("server_port", _refused("there is no remote debugger; leave it out")),
    _one(
        "loss_scale",
        Case(_understood("float16 finds its loss scale while it trains"), _for("0")),
        _refused("float16 finds its loss scale while it trains; leave it out"),
        training=True,
    ),
    _one("labels", _refused("classes are found in the training data; leave it out")),
    _switch("use_tpu", _TPU),
    _one("tpu_name", _TPU),
    _one("tpu_zone", _TPU),
    _one("gcp_project", _TPU),
    _one("master", _TPU),
    _one("num_tpu_cores", _refused("all devices are used; leave it out")),
)

# By where they come from.
SOURCES = {
    "TrainingArguments": TRAINING_ARGUMENTS,
    "TrainingArguments of earlier versions": EARLIER_TRAINING_ARGUMENTS,
    "Example scripts of transformers": EXAMPLE_SCRIPTS,
    "Old scripts, and google-research/bert": OLD_SCRIPTS,
}

FOREIGN = {flag.name: flag for flags in SOURCES.values() for flag in flags}
