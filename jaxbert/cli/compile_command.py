r"""Compile a training step for devices that are not here: does it fit, and how fast is it?

    jaxbert compile qa --target h100 --config_name bert-base --dtype bfloat16 \
        --per_device_train_batch_size 32 --max_seq_length 384
    jaxbert compile classification --target v5e:2x4 --model_name_or_path bert-base-uncased

The other flags are those of `jaxbert train`. No data are read and nothing is trained: rows are full
(packed, of windows of an eighth to all of their length), and classes as many as the demo's. Nothing
has run on the device, so the time is an estimate: its memory's traffic, and its products at 80 % of
the peak, one after the other.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxbert.cli import command_line
from jaxbert.compiling.described_devices import Described, describe, prepare_environment
from jaxbert.compiling.full_rows import letters_tokenizer
from jaxbert.compiling.step_report import DoesNotFit, Report
from jaxbert.compiling.training_step import TrainingStep
from jaxbert.data.features import Features
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.files import Json, write_json
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.losses.choose import ChosenLoss, choose_loss
from jaxbert.losses.own_params import with_loss_params
from jaxbert.model.config import SIZES, BertConfig, load_config
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, init_params
from jaxbert.model.lora import LORA, Lora, draw_lora
from jaxbert.model.tokenizer import PreTrainedTokenizerFast as Tokenizer
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.fields import AUTO, Settings, option
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.source_settings import OwnColumns
from jaxbert.runs.place import check_writable
from jaxbert.runs.plan import full_rows
from jaxbert.runs.run_step import make_step
from jaxbert.tasks.registry import TASKS, AnyTask
from jaxbert.tasks.task_commands import TASK_COMMANDS
from jaxbert.training.choose_optimizer import choose_optimizer
from jaxbert.training.optim import make_schedule
from jaxbert.training.optimizers import make_optimizer
from jaxbert.training.parallel import make_parallel

logger = logging.getLogger("jaxbert")

_SHOWN = 12  # parts of the traffic


@dataclasses.dataclass(frozen=True)
class CompileOptions(Settings):
    """Flags in addition to those of a training."""

    GROUP = "devices, speed and debugging"

    target: str | None = option(
        None,
        "h100, h200, a100, t4, or a slice of TPUs: v5e:2x4, v6e:2x2, v5p:4x4x4 or v5p-128, ...",
    )
    json: str | None = option(None, "A file to write the figures to as well.", path=True)
    largest_batch_size: bool = option(
        False, "Also find the most rows that fit on a device, by compiling a few more times."
    )


class _Options(CompileOptions, TrainingOptions):
    """With those of a training."""


def run(
    name: str, words: Sequence[str], described_by: Callable[[str], Described] = describe
) -> None:
    """Compile the step that a training would run, and print what it takes.

    Args:
        name: of the task.
        described_by: gives the devices of a target.

    Raises:
        InputError: the target or a flag is wrong, or a compiler is not installed.
    """
    about, task_cls = TASK_COMMANDS[name], TASKS[name]
    cls: type[_Options] = dataclasses.make_dataclass(
        "CompileTask", [], bases=(_Options, about.training), frozen=True
    )
    options = command_line.parse(cls, words, prog=f"jaxbert compile {name}", description=__doc__)
    if not options.target:
        raise InputError("give --target, the device to compile for: h100, v5e:2x4, ...")
    out = Path(options.json).expanduser() if options.json else None
    if out:  # before minutes of compiling
        if out.is_dir():
            raise InputError(f"--json {out}: it is a folder; give a file")
        check_writable(out.parent, "--json, in")
    loss = choose_loss(task_cls.losses, **options.loss_choice())
    optimizer = choose_optimizer(options.optim, **options.rule())
    _check_needs_no_data(loss, options.own_columns())
    options.check_on_this_machine("jaxbert compile")
    if options.per_device_train_batch_size == AUTO:
        raise InputError("--per_device_train_batch_size auto: give a number, --largest_batch_size")
    jax.config.update("jax_platforms", "cpu")
    prepare_environment()
    described = described_by(options.target)
    parallel = make_parallel(
        options.parallel, described.devices, shard_optimizer=options.shard_optimizer
    )
    cfg, tokenizer = _model(options.model_name_or_path, options.config_name)
    own = options.part(task_cls.settings_cls)
    files = about.recipe["train_file"]
    assert isinstance(files, list)
    examples = _examples(_on_usual_columns(task_cls(own)), files, cfg, tokenizer)
    lora = None if (adapter := options.lora()) is None else Lora(**adapter)
    model = LoadedModel(
        examples.cfg,
        jax.eval_shape(lambda: _params(examples.cfg, task_cls.head, lora)),
        examples.tokenizer,
        task_cls.head,
        Compute(
            options.dtype,
            options.attention,
            options.packing,
            parallel,
            described.kind.target,
            options.matmul_precision,
        ),
        lora,
    )
    length, parts = own.max_seq_length, parallel.devices * options.gradient_accumulation_steps
    lengths = bucket_lengths(options.length_bucket, length)
    kernel, why = model.attention_for(lengths, train=True)
    schedule = make_schedule(options.learning_rate, steps=1000, decay=options.lr_scheduler_type)
    tx = make_optimizer(optimizer.rule, schedule, **options.optimizer())
    step = make_step(examples.task, model, loss, tx, lengths, **options.step())
    prepared = TrainingStep(
        step,
        with_loss_params(model.params, loss, examples.cfg, seed=options.seed),
        tx,
        lambda rows: full_rows(
            examples.features,
            # Packed rows have windows of an eighth to all of a row.
            np.random.default_rng(0).integers(length // 8, length + 1, 8 * rows * parts),
            rows=rows,
            width=cfg.hidden_size,
            parts=parts,
            max_seq_length=length,
            windows_in_row=examples.task.windows_in_row,
            platform=described.kind.target.platform,
            corruption=examples.task.corrupt(examples.tokenizer, examples.cfg, seed=options.seed),
            **options.batches(),
        ),
        parallel,
        options.dtype,
    )
    rows = options.per_device_train_batch_size
    logger.info("attention by %s: %s", kernel, why)
    logger.info("compiling for %s, which takes a minute or two", options.target)
    report = prepared.report(rows, described.kind)
    figures: dict[str, Json] = {
        "target": options.target,
        "devices": parallel.devices,
        "hosts": described.hosts,
        "attention": kernel,
        "matmul_precision": options.matmul_precision,
        "per_device_train_batch_size": rows,
        "jax": jax.__version__,
        **_figures(report, prepared.tokens(rows)),
    }
    if options.largest_batch_size:
        most = prepared.most_rows(rows, report, described.kind, logger.info)
        figures["largest_per_device_train_batch_size"] = most
    for line in lines(figures, report):
        print(line)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, figures)


def _on_usual_columns(task: AnyTask) -> AnyTask:
    """The task for files whose columns have their usual names."""
    own, usual = task.settings, type(task.settings)()
    columns = [f.name for f in dataclasses.fields(own) if f.name.endswith("column_name")]
    names = {name: getattr(usual, name) for name in columns}
    return type(task)(dataclasses.replace(own, **names))


def _check_needs_no_data(loss: ChosenLoss, columns: OwnColumns) -> None:
    """Refuse a loss that cannot be computed of rows that are made up."""
    if "teacher" in loss.args:
        raise InputError(f"--loss {loss.name}: a teacher is asked about data; compile reads none")
    if columns.extra or columns.view:
        name = "extra_columns" if columns.extra else "view_column"
        raise InputError(f"--{name}: columns are those of data; compile reads none")


class _Examples(NamedTuple):
    """The demo's examples as a training would have them, whose columns are those of its batches.

    Attributes:
        cfg: with their classes.
    """

    task: AnyTask
    cfg: BertConfig
    tokenizer: Tokenizer
    features: Features


def _examples(
    task: AnyTask, files: Sequence[str], cfg: BertConfig, tokenizer: Tokenizer | None
) -> _Examples:
    """Examples of a task.

    Args:
        task: its columns have their usual names in the files.
        tokenizer: where None is given, each letter is a token.
    """
    length = task.settings.max_seq_length
    if length > cfg.positions:
        raise InputError(f"--max_seq_length {length}: the model has {cfg.positions} positions")
    data = task.read([(path, task.load(path)) for path in files])
    task = task.fit_to(data.examples, None)
    if tokenizer is None:
        tokenizer = letters_tokenizer("".join(Path(path).read_text("utf-8") for path in files))
    if task.has_classes:
        classes = data.classes or task.labels(data.examples)
        cfg = dataclasses.replace(cfg, id2label=tuple(classes))
    cfg = dataclasses.replace(
        cfg, problem_type=task.problem_type(cfg), window_attention=task.weighs_windows
    )
    features = task.as_rows(task.encode(data.examples, tokenizer, cfg).to_learn())
    return _Examples(task, cfg, tokenizer, features)


def _model(source: str | None, config: str | None) -> tuple[BertConfig, Tokenizer | None]:
    """The configuration, and the tokenizer where there is a folder of one.

    Args:
        config: a folder, a file, or one of BERT's sizes.
    """
    if bool(source) == bool(config):
        sizes = ", ".join(SIZES)
        raise InputError(f"give --model_name_or_path, or --config_name: {sizes} or a config.json")
    if config in SIZES:
        return SIZES[config], None
    path = Path(source or config or "").expanduser()
    if path.is_file():
        return load_config(path), None
    close = difflib.get_close_matches(config or "", SIZES, n=1, cutoff=0.85)
    if close and not path.exists():
        raise InputError(f"--config_name {config}: no such file; did you mean {close[0]}?")
    folder = find_model_folder(source or config or "")
    cfg = load_config(folder)
    return cfg, load_tokenizer(folder, vocab_size=cfg.vocab_size) if source else None


def _params(cfg: BertConfig, head: str, lora: Lora | None) -> Params:
    """Parameters of a run, drawn."""
    key = jax.random.key(0)
    params = init_params(cfg, head, key)
    return params if lora is None else {**params, LORA: draw_lora(lora, cfg, head, key)}


def _figures(report: Report | DoesNotFit, tokens: int) -> dict[str, Json]:
    """What is written of a report.

    Args:
        tokens: of a step on all devices, with padding.
    """
    if isinstance(report, DoesNotFit):
        return {"fits": False, "needed_gib": report.needed_gib}
    return {
        "args_gib": report.args_gib,
        "temp_gib": report.temp_gib,
        "traffic_gib": report.traffic_gib,
        "flops": report.flops,
        "memory_seconds": report.memory_seconds,
        "product_seconds": report.product_seconds,
        "estimate_seconds": report.estimate_seconds,
        "tokens_per_second": tokens / report.estimate_seconds,
        "fits": report.fits,
        "traffic_parts_gib": dict(report.parts),
        "unordered_sums": report.unordered,
        "exchanged_gib": report.exchanged_gib,
        "program_mib": report.program_mib,
        "compile_seconds": report.compile_seconds,
    }


def lines(figures: dict[str, Json], report: Report | DoesNotFit) -> Iterator[str]:
    """The report as a person reads it."""
    rows = figures["per_device_train_batch_size"]
    yield (
        f"{figures['target']}: {_counted(figures['devices'], 'device')} on "
        f"{_counted(figures['hosts'], 'host')}, {rows} rows a device, attention by "
        f"{figures['attention']}, jax {figures['jax']}"
    )
    if isinstance(report, DoesNotFit):
        needed = f": it needs {report.needed_gib:.1f} GiB" if report.needed_gib else ""
        yield f"  the step does not fit in the device's memory{needed}"
        yield "  fewer rows (--per_device_train_batch_size) with --gradient_accumulation_steps,"
        yield "  --gradient_checkpointing or a shorter --dtype take less"
    else:
        fits = "fits" if report.fits else "does not fit"
        yield f"  parameters, optimizer and batch {report.args_gib:8.2f} GiB"
        yield f"  temporary memory                {report.temp_gib:8.2f} GiB: it {fits}"
        yield f"  memory traffic of a step        {report.traffic_gib:8.2f} GiB"
        if report.exchanged_gib:
            yield f"  given to the other devices      {report.exchanged_gib:8.2f} GiB"
        yield f"  products of a step              {report.flops / 1e12:8.2f} TFLOP"
        yield (
            f"  estimate: {1e3 * report.estimate_seconds:.1f} ms a step "
            f"({1e3 * report.memory_seconds:.1f} for memory and "
            f"{1e3 * report.product_seconds:.1f} for products), "
            f"{figures['tokens_per_second']:,.0f} tokens a second on all devices"
        )
        if figures["matmul_precision"] != "default":
            yield "  (the time of products is that of --matmul_precision default)"
        yield (
            f"  the program is {report.program_mib:.0f} MiB, compiled in "
            f"{report.compile_seconds:.0f} s on this machine"
        )
        if report.unordered is not None:
            yield f"  sums in no fixed order: {', '.join(report.unordered) or 'none'}"
        yield "  traffic by part, GiB:"
        for part, size in list(report.parts.items())[:_SHOWN]:
            yield f"    {size:6.2f}  {part}"
    if "largest_per_device_train_batch_size" in figures:
        most = figures["largest_per_device_train_batch_size"]
        yield f"  rows a device that fit, tried to a sixteenth: {most}"


def _counted(number: Json, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
