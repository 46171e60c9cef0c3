"""Command lines: flags from option dataclasses, and errors in one line with exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO, TypeVar, cast

import jax
from tqdm import tqdm
from transformers import HfArgumentParser

from jaxbert import devices, memory, processes
from jaxbert.errors import InputError
from jaxbert.options import TextOptions, TrainingOptions

T = TypeVar("T")

# Flags of Hugging Face's run_* scripts that say what a jaxbert script does anyway.
_IMPLIED = {
    "do_train": "train/ scripts train",
    "do_eval": "they evaluate when there is a validation set",
    "do_predict": "eval/ scripts predict",
    "report_to": "train_log.jsonl is the log",
    "preprocessing_num_workers": "texts are tokenized in threads",
    "use_fast_tokenizer": "tokenizers are fast always",
    "eval_strategy": "give --eval_steps, or nothing for every epoch",
    "evaluation_strategy": "give --eval_steps, or nothing for every epoch",
    "save_strategy": "give --save_steps, or nothing for every epoch",
    "logging_strategy": "give --logging_steps",
    "overwrite_cache": "there is no cache of features",
    "pad_to_max_length": "give --length_bucket 0 for one padded length",
    "resume_from_checkpoint": "a run in --output_dir is gone on with by itself",
    "dataloader_num_workers": "batches are made ahead as it is",
    "cache_dir": "set HF_HOME for the folder of downloads",
    "ignore_mismatched_sizes": "a classifier for other classes is drawn anew",
    "return_entity_level_metrics": "entity_report.json has them",
    "save_safetensors": "safetensors is the format",
    "metric_name": "all scores are given; --metric_for_best_model names the one that counts",
    "logging_dir": "train_log.jsonl is in --output_dir",
    "optim": "the optimizer is AdamW",
    "model_type": "the type is BERT",
    "task_name": "the script is the task",
}
# And those that have another form here: flag -> words that replace it.
_RENAMED = {"bf16": ["--dtype", "bfloat16"], "half_precision": ["--dtype", "bfloat16"]}
# And those whose value is the last of the words that replace them.
_WITH_NEW_NAME = {
    "task_name": ["--dataset_name", "nyu-mll/glue", "--dataset_config_name"],
}
_WITH_VALUE = {
    "report_to",
    "preprocessing_num_workers",
    "eval_strategy",
    "evaluation_strategy",
    "save_strategy",
    "logging_strategy",
    "resume_from_checkpoint",
    "dataloader_num_workers",
    "cache_dir",
    "metric_name",
    "logging_dir",
    "optim",
    "model_type",
    *_WITH_NEW_NAME,
}
_REFUSED = {
    "push_to_hub": "upload the finished folder with `hf upload`",
    "fp16": "give --bf16: bfloat16 needs no loss scaling",
    "trust_remote_code": "jaxbert runs no code of a model",
    "validation_split_percentage": "give --validation_file, lines that are not trained on",
    "test_file": "predict with the script of this name in eval/, and the file as --validation_file",
    "max_predict_samples": "predict with the script of this name in eval/ and --max_eval_samples",
}


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults shown, and a script's docstring as it is written."""


class _Parser(HfArgumentParser):
    """Hugging Face's own reading of dataclasses as flags, with errors in one line.

    It takes `--flag`, `--flag True`, `--no_flag` and lists as their scripts do.
    """

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists the options")


def parse(
    kind: type[T],
    argv: Sequence[str] | None = None,
    *,
    defaults: Callable[[T], dict[str, Any]] | None = None,
    description: str | None = None,
) -> T:
    """The options of a command line.

    Args:
        kind: the option dataclass.
        defaults: given the options as they would be, other defaults for what was not given.
    """
    words = _migrate(sys.argv[1:] if argv is None else list(argv), kind)
    parser = _Parser(
        cast(Any, kind),
        description=description,
        usage="%(prog)s [options]",
        formatter_class=_Help,
    )
    options = _read(parser, words)
    if defaults is not None:
        parser.set_defaults(**defaults(options))
        options = _read(parser, words)
    return options


def _read(parser: _Parser, words: list[str]) -> Any:
    """What the words say; an unknown flag is refused, with the known one most like it."""
    *found, rest = parser.parse_args_into_dataclasses(words, return_remaining_strings=True)
    for word in rest:
        known = [flag for action in parser._actions for flag in action.option_strings]
        like = difflib.get_close_matches(word.split("=")[0], known, n=1)
        hint = f"did you mean {like[0]}?" if like else "--help lists the options"
        raise InputError(f"{word} is not an option; {hint}")
    return found[0]


def _migrate(words: list[str], kind: type[Any]) -> list[str]:
    """The command line with the flags of Hugging Face's scripts that have no field here."""
    trains, of_texts = issubclass(kind, TrainingOptions), issubclass(kind, TextOptions)
    known = {*_IMPLIED, *_RENAMED, *_REFUSED, *_WITH_NEW_NAME}
    result: list[str] = []
    said: set[str] = set()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        name = word.removeprefix("--").split("=")[0].replace("-", "_")
        if not word.startswith("--") or name not in known:
            result.append(word)
            continue
        value = word.split("=")[1] if "=" in word else None
        following = "".join(words[position : position + 1])
        if value is None and (name in _WITH_VALUE or following.lower() in ("true", "false")):
            value = following
            position += 1
        if value is not None and value.lower() == "false":
            continue
        said.add(name)
        if name in _REFUSED:
            raise InputError(f"--{name} is not taken: {_REFUSED[name]}")
        if name in _WITH_NEW_NAME and not value:
            raise InputError(f"--{name}: give its value")
        if name in _WITH_NEW_NAME and of_texts:
            result += [*_WITH_NEW_NAME[name], str(value)]
        elif name in _RENAMED:
            result += _RENAMED[name]
        else:
            logging.getLogger("jaxbert").info("--%s: %s", name, _IMPLIED[name])
    if trains and said & {"do_eval", "do_predict"} and "do_train" not in said:
        flag = "do_eval" if "do_eval" in said else "do_predict"
        raise InputError(f"--{flag} without --do_train: call the script of this name in eval/")
    return result


class _Lines(logging.Handler):
    """Messages as plain lines on standard output, above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(record.getMessage(), file=sys.stdout)
        except OSError:  # whoever read has gone; a training goes on without
            _drop_stdout()


class _Unheard:
    """A stream of which a reader or terminal that has gone takes nothing but what it would read."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(command: Callable[[], int | None], *, quiet: bool = False) -> NoReturn:
    """Run a script's command: results on standard output, an InputError as one line, exit 2.

    Args:
        quiet: nothing but what the command prints, for output that other programs read.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a narrow locale shall not end a run
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _Unheard(sys.stderr))  # progress bars, warnings and errors
    memory.keep_freed()
    logger = logging.getLogger("jaxbert")
    logger.addHandler(_Lines())
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False  # libraries may have set up the root logger; each line comes once
    devices.show_warnings()
    # Orbax logs by it, with a traceback, what it raises too.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        status = command() or 0
    except InputError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except BrokenPipeError:
        _drop_stdout()
        status = 1
    except OSError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        status = 1 if isinstance(error, ConnectionError) else 2
    except Exception as error:  # Python says no more, but several processes would wait
        lost = processes.several() and isinstance(error, jax.errors.JaxRuntimeError)
        status = 1
        if "--debug" in sys.argv:
            traceback.print_exc()
        elif lost:  # another process has ended, and says why
            reason = str(error).splitlines()[0]
            print(f"error: the processes compute together no more ({reason})", file=sys.stderr)
        elif isinstance(error, (AssertionError, RuntimeError)) and (fault := devices.fault()):
            print(f"error: {fault}", file=sys.stderr)
            status = 2
        else:  # a fault of ours
            traceback.print_exc()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    processes.leave(status)
    sys.exit(status)
