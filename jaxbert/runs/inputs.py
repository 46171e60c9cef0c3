"""What the options name, read and checked: examples, and a model with its tokenizer."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence

import jax

from jaxbert.data.in_memory import InMemory
from jaxbert.data.parts import part_of
from jaxbert.data.row_columns import CellCollector, watched
from jaxbert.data.rows import Content, Data, names_of, problem_lines
from jaxbert.data.sources import MissingSplitError, validation_split_of
from jaxbert.errors import InputError
from jaxbert.io.fetched import fetched_file
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.model.config import BertConfig, load_config
from jaxbert.model.folders import config_of, find_model_folder
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.settings import ModelOptions
from jaxbert.options.source_settings import Source
from jaxbert.runs.data_cache import kept_data
from jaxbert.tasks.registry import AnyTask
from jaxbert.tasks.task import E, P, S, Task
from jaxbert.training.parallel import make_parallel

logger = logging.getLogger("jaxbert")


def load_model(
    task: Task[S, E, P],
    options: ModelOptions,
    data: Data[E] | None = None,
    *,
    seed: int = 0,
    packing: bool = False,
    shard_optimizer: bool = False,
) -> LoadedModel:
    """The model as the options name it, with its tokenizer, on its devices.

    Args:
        data: what is to be learned, with its classes, by a head that may be new; None for a
            model that must have its head.
        seed: of parameters that are drawn.
        packing: see Compute.
        shard_optimizer: see make_parallel.
    """
    source, config = options.model_name_or_path, options.config_name
    key = jax.random.fold_in(jax.random.key(seed), 0)
    if source and config and source != config:
        raise InputError("give --model_name_or_path or --config_name (random weights), not both")
    compute = Compute(
        options.dtype,
        options.attention,
        packing,
        make_parallel(options.parallel, shard_optimizer=shard_optimizer),
        matmul_precision=options.matmul_precision,
    )
    of_words = task.of_words and data is not None  # a model's own tokenizer stays as it is
    if source:
        folder = find_model_folder(source)
        labels = _labels(task, load_config(folder), data)
        model = LoadedModel.from_folder(
            folder,
            task.head,
            compute,
            draw_head=data is not None,
            key=key,
            id2label=labels,
            window_attention=None if data is None else task.weighs_windows,
            tokenizer=options.tokenizer_name,
            of_words=of_words,
        )
    elif config:
        path, folder = config_of(config)
        cfg = load_config(path)
        labels = _labels(task, cfg, data)
        cfg = dataclasses.replace(
            cfg, id2label=tuple(labels or ()), window_attention=task.weighs_windows
        )
        if options.tokenizer_name:
            folder = find_model_folder(options.tokenizer_name)
        tokenizer = load_tokenizer(folder, vocab_size=cfg.vocab_size, of_words=of_words)
        model = LoadedModel.from_config(cfg, tokenizer, task.head, compute, key=key)
        logger.info("%s: all parameters newly initialized", config)
    else:
        raise InputError("give --model_name_or_path, or --config_name for random weights")
    if data is not None:
        problem = task.problem_type(model.cfg)
        model.cfg = dataclasses.replace(model.cfg, problem_type=problem)
    return model


def _labels(task: Task[S, E, P], cfg: BertConfig, data: Data[E] | None) -> tuple[str, ...] | None:
    """The classes to learn: those of the data, or the model's own where these hold them all."""
    if not task.has_classes or data is None:
        return None
    return cfg.id2label if set(data.classes) <= set(cfg.id2label) else data.classes


def read_examples(
    task: Task[S, E, P],
    source: Source,
    rows: InMemory | None = None,
    collector: CellCollector | None = None,
    cache_dir: str | None = None,
) -> Data[E] | None:
    """The examples of a source, their problems logged; None where it names no data.

    The classes are those that the data declare, or, in training data, all that occur; also where
    only the first examples are asked for.

    Args:
        rows: of a Python program, in place of files and data sets.
        collector: of the columns that the task does not know.
        cache_dir: where the examples of files are kept; see jaxbert.runs.data_cache.
    """

    def read(sources: Iterable[tuple[str, Content]]) -> Data[E]:
        return task.read(watched(sources, collector, task.rows_of) if collector else sources)

    if rows is not None:
        origin = rows.origin
        data = read([rows])
    elif source.files:
        origin = ", ".join(source.files)
        if cache_dir is None or (collector is not None and collector.wants):
            data = read(_contents(task, source))
        else:
            data = kept_data(cache_dir, task, source, lambda: read(_contents(task, source)))
    elif source.dataset_name:
        name, config = source.dataset_name, source.dataset_config_name
        split = "train"
        if not source.training:
            split = source.validation_split or validation_split_of(config)
        origin = f"{name}[{split}]"
        data = read([(origin, task.load_data_set(name, config, split))])
    else:
        return None
    logger.info("%s: %d examples", origin, len(data.examples))
    for note in data.notes:
        logger.info("  %s", note)
    for line in problem_lines(data.problems):
        logger.info("  %s", line)
    if source.training:
        check_labels(task, data, "training")
    task.check(data, origin, training=source.training)
    if source.training:
        classes = task.labels(data.examples)
        if not set(classes) <= set(data.classes):
            data = dataclasses.replace(data, classes=classes)
    if source.limit:
        data = _first(task, data, source.limit, origin)
    return _part(task, data, source, origin) if source.fraction < 1 else data


def _contents(task: AnyTask, source: Source) -> Iterator[tuple[str, Content]]:
    """What the files have, of this machine or of a bucket, each while it is read."""
    for place in source.files or ():
        with fetched_file(place, source.flag) as path:
            yield place, task.load(path)


def _first(task: Task[S, E, P], data: Data[E], limit: int, origin: str) -> Data[E]:
    """The first examples; a warning where they are of one class, as in a sorted file."""
    if limit >= len(data.examples):
        return data
    kept = data.examples[:limit]
    after = itertools.islice(data.examples, limit, None)
    if (label := _only_label(task, kept, after)) is not None:
        message = "%s: the first %d examples are all of the class %s; is the file sorted?"
        logger.warning(message, origin, len(kept), label)
    return dataclasses.replace(data, examples=kept)


def _part(task: Task[S, E, P], data: Data[E], source: Source, origin: str) -> Data[E]:
    """The examples of --train_fraction; a warning where they are of one class."""
    rows = part_of(len(data.examples), source.fraction, source.seed)
    kept = [data.examples[row] for row in rows.tolist()]
    logger.info("  %d of them, drawn by --seed %d", len(kept), source.seed)
    if (label := _only_label(task, kept, data.examples)) is not None:
        message = "%s: the %d examples of --train_fraction %g are all of the class %s"
        logger.warning(message, origin, len(kept), source.fraction, label)
    return dataclasses.replace(data, examples=kept)


def _only_label(task: Task[S, E, P], kept: Sequence[E], others: Iterable[E]) -> str | None:
    """The label of all that are kept, where there are several and others have another."""
    labels = {str(task.label_of(e)) for e in kept}
    if len(kept) < 2 or len(labels) > 1:
        return None
    return min(labels) if any(str(task.label_of(e)) not in labels for e in others) else None


def read_held_out(
    task: Task[S, E, P],
    source: Source,
    rows: InMemory | None = None,
    needed_by: Sequence[str] = (),
    cache_dir: str | None = None,
) -> Sequence[E] | None:
    """The validation examples of a training run, or None; a data set of the Hub may have none.

    Args:
        rows: see read_examples.
        needed_by: the options given that need them.
        cache_dir: see read_examples.
    """
    try:
        data = read_examples(task, source, rows, cache_dir=cache_dir)
    except MissingSplitError as error:
        if source.validation_split:
            raise
        logger.info("%s: no validation", error)
        data = None
    if data is None:
        if needed_by:
            raise InputError(f"--{needed_by[0]} needs validation data to tell what is better")
        return None
    check_labels(task, data, "validation")
    return data.examples


def check_labels(task: Task[S, E, P], data: Data[E], name: str, asked: Sequence[str] = ()) -> None:
    """Refuse data without labels; all examples have one or none has.

    Args:
        name: of the data, for the message.
        asked: the columns of labels that were named for data that need none.
    """
    first = data.examples[0]
    if task.label_of(first) is not None:
        return
    where = task.row_of(first)
    if asked:
        raise InputError(
            f"{where}: --label_column_name {' '.join(asked)}: no row has a label, so there "
            "is nothing to score; without that flag there are predictions alone"
        )
    raise InputError(
        f"{where}: the {name} data has no labels; name them with --label_column_name; the "
        f"columns are {names_of(data.columns)}"
    )
