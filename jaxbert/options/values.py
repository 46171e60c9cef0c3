"""Values of options: the ranges and types that are taken, and what may change at a resume."""

from __future__ import annotations

import builtins
import dataclasses
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown

# Options that do not change what a run computes: they may differ when it is gone on with.
HARMLESS = {
    "output_dir",
    "overwrite_output_dir",
    "allow_changed_options",
    "compilation_cache_dir",
    "debug",
    "coordinator_address",
    "num_processes",
    "process_id",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "max_nonfinite_steps",
    "save_errors",
    "report_to",
    "per_device_eval_batch_size",
    "strict",
    "dataset_name",  # of the data itself the fingerprints are compared
    "dataset_config_name",
    "validation_split",
    "train_file",
    "validation_file",
}


# Options on which the examples of a run depend, and it keeps those: where they make a difference,
# allowing them does not help.
_OF_DATA = {
    "max_train_samples",
    "max_eval_samples",
    "max_seq_length",
    "doc_stride",
    "stride_mode",
    "version_2_with_negative",
    "text_column_name",
    "label_column_name",
    "label_all_tokens",
    "quoted_tsv",
    "target_scaling",
    "line_by_line",
    "words",
    "tokenizer_name",
    "config_name",
}

# Flag -> smallest and largest value; only those a record has are checked.
_RANGES: dict[str, tuple[float, float]] = {
    "num_train_epochs": (0, 1e6),
    "per_device_train_batch_size": (1, 65536),
    "per_device_eval_batch_size": (1, 65536),
    "gradient_accumulation_steps": (1, 65536),
    "learning_rate": (0, 1e3),
    "warmup_ratio": (0, 1),
    "warmup_steps": (0, 1e9),
    "weight_decay": (0, 1e3),
    "adam_beta1": (0, 0.999999),
    "adam_beta2": (0, 0.99999999),
    "adam_epsilon": (1e-12, 1),
    "max_grad_norm": (0, 1e9),
    "max_nonfinite_steps": (1, 1e6),
    "num_processes": (1, 65536),
    "max_steps": (-1, 1e9),
    "length_bucket": (0, 1e6),
    "logging_steps": (1, 1e9),
    "eval_steps": (1, 1e9),
    "save_steps": (1, 1e9),
    "save_total_limit": (1, 1e6),
    "max_train_samples": (1, 1e12),
    "max_eval_samples": (1, 1e12),
    "early_stopping_patience": (1, 1e9),
    "max_seq_length": (1, 1e6),
    "doc_stride": (0, 1e6),
    "max_answer_length": (1, 1e6),
    "n_best_size": (1, 1e4),
    "null_score_diff_threshold": (-1e6, 1e6),
    "score_temperature": (1e-3, 1e3),
    "fit_part": (0.01, 1),
    "seed": (0, 2**32 - 1),
    "mlm_probability": (0.001, 0.9),
    "threshold": (0, 1),
}


def check_ranges(options: Any) -> None:
    """Raise InputError for a number that is out of range, or a place that is no local path."""
    check_places(options)
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name, None)
        if value is not None and not least <= value <= most:  # NaN is in no range
            raise InputError(f"--{name} {value}: it must be from {least:g} to {most:g}")


# Options that name a file or a folder, or something that may be one.
_PLACES = (
    "model_name_or_path",
    "config_name",
    "tokenizer_name",
    "train_file",
    "validation_file",
    "dataset_name",
    "output_dir",
    "compilation_cache_dir",
    "context_file",
    "predictions",
    "references",
    "null_odds",
    "runs",
    "output",
)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.*", re.DOTALL)


def check_places(options: object) -> None:
    """Raise InputError for a file or folder that is an address, such as that of a bucket."""
    for name in _PLACES:
        value = getattr(options, name, None)
        for place in value if isinstance(value, list) else [value]:
            found = _ADDRESS.fullmatch(place) if isinstance(place, str) else None
            if found:
                scheme = found[1].lower()
                what = "a web address" if scheme in ("http", "https") else "an address"
                raise InputError(
                    f"--{name} {shown(place)}: {what}; {scheme}:// is not supported: give a "
                    "path on this machine, and copy from or to there yourself"
                )


def check_types(kind: type[Any], values: dict[str, Any], place: Path) -> None:
    """Raise InputError for a value that is not of the type of its field, naming the file.

    Args:
        kind: an option dataclass; names that it has not are passed over.
    """
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name in hints and not is_of(value, hints[name]):
            raise InputError(f"{place}: {name} is {value!r}, which --{name} does not take")


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of a field's type; an int is a float too."""
    if hint is Any:
        return True
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return value in arguments
        case typing.Union | types.UnionType:
            return any(is_of(value, each) for each in arguments)
        case builtins.list:
            return isinstance(value, list) and all(is_of(each, arguments[0]) for each in value)
        case builtins.dict:
            return isinstance(value, dict) and all(is_of(x, arguments[1]) for x in value.values())
    return type(value) is hint or (hint is float and type(value) is int)


@dataclasses.dataclass(frozen=True)
class ChangedOption:
    """An option that a run was started with, and the value that it would go on with."""

    name: str
    before: object
    now: object

    def __str__(self) -> str:
        return f"--{self.name}: {self.before} -> {self.now}"


def changed_options(saved: dict[str, Any], options: Any) -> list[ChangedOption]:
    """The options that differ from the saved ones, of those that change what the run computes."""
    now = dataclasses.asdict(options)
    allowed = (HARMLESS | set(now.get("allow_changed_options") or ())) - {"freeze"}
    # An option that is younger than the run had its default.
    before = dataclasses.asdict(type(options)()) | saved
    return [
        ChangedOption(name, before[name], now[name])
        for name in sorted(now)
        if name not in allowed and before[name] != now[name]
    ]


def advice_on(changed: Sequence[ChangedOption], folder: Path) -> str:
    """What to do about options that differ from those of the run in the folder.

    Only such as can be allowed are advised to be.
    """
    names = [option.name for option in changed]
    if "freeze" in names:
        return (
            "what is frozen cannot be changed, since the optimizer has no state of it; give the "
            "former --freeze to go on, or train on from the model of this run in another folder: "
            f"--model_name_or_path {folder} --output_dir OTHER"
        )
    if of_data := [name for name in names if name in _OF_DATA]:
        flags = " ".join(f"--{name}" for name in of_data)
        return (
            f"a run keeps its examples, which depend on {flags}; give the former to go on, or "
            "another --output_dir, or --overwrite_output_dir"
        )
    return (
        f"give --allow_changed_options {' '.join(names)} to go on with the new ones, or "
        "--overwrite_output_dir"
    )
