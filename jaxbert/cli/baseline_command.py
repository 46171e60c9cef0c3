r"""Fine-tune with PyTorch and transformers what `jaxbert train` does with JAX, to compare the two.

    jaxbert baseline classification --train_file train.tsv --validation_file dev.tsv \
        --model_name_or_path minilm-l6 --output_dir runs/torch ...

The flags are those of `jaxbert train` for that task. The initial weights, the batches of every
step, the decoding and the scores are jaxbert's own; the model, the loss, the gradients, dropout,
the schedule and AdamW are PyTorch's and transformers'. Needs the extra `baseline`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from tqdm import tqdm

from jaxbert.benchmark import pytorch
from jaxbert.cli import command_line
from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource
from jaxbert.data.features import Features
from jaxbert.data.sampling import bucket_lengths, by_length, make_batch
from jaxbert.errors import InputError
from jaxbert.loaded.model import LoadedModel
from jaxbert.metrics.scores import Scores
from jaxbert.options.fields import AUTO, settings_of
from jaxbert.runs.encoding import encode_examples, encode_to_learn
from jaxbert.runs.evaluate import show_scores
from jaxbert.runs.folder import write_results
from jaxbert.runs.inputs import load_model, read_examples, read_held_out
from jaxbert.runs.place import check_writable
from jaxbert.runs.plan import make_sampler, total_steps, warmup_of
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task import EVALUATION, E, P, S, Task
from jaxbert.tasks.task_commands import TASK_COMMANDS

if TYPE_CHECKING:
    import torch

# Options of jaxbert that would make the two runs unlike.
_UNKNOWN = (
    "long_texts",  # whose windows have weights
    "class_weights",
    "loss_args",
    "packing",
    "gradient_accumulation_steps",
    "freeze",
    "optim",
    "optim_args",
    "layerwise_lr_decay",
    "head_learning_rate",
    "ema_decay",
    "swa_start",
    "load_best_model_at_end",
    "early_stopping_patience",
    "push_to_hub",
    "hub_model_id",
    "hub_private_repo",
)


def _evaluate(
    task: Task[S, E, P],
    loaded: LoadedModel,
    model: torch.nn.Module,
    examples: Sequence[E],
    features: Features,
    *,
    seed: int,
    size: int,
    buckets: Sequence[int],
    precision: str,
) -> tuple[Scores, Sequence[P]]:
    """Scores and predictions by the task's own decoding, from PyTorch's logits.

    Args:
        loaded: what `model` was made of.
        seed: of what the task draws.
        size: windows of a batch, which is padded to the lengths of `buckets`.
        precision: see pytorch.autocast.
    """
    import torch

    reduce = task.reduce()
    kept: dict[str, np.ndarray] = {}
    cfg = loaded.cfg
    corrupt = task.corrupt(loaded.tokenizer, cfg, seed=seed)
    model.eval()
    for windows, length in by_length(features.lengths, size, buckets):
        batch = make_batch(features, windows, length, len(windows))
        batch = corrupt(batch, EVALUATION) if corrupt else batch
        with torch.inference_mode(), pytorch.autocast(precision):
            found = model(**pytorch.to_device(pytorch.to_torch(task.head, batch, labelled=False)))
        names = ("start_logits", "end_logits") if task.head == "qa" else ("logits",)
        outputs = {n: found[n].float().cpu().numpy() for n in names}
        if task.head == "regression":
            outputs = {"scores": outputs["logits"][:, 0]}
        elif task.head == "mlm":
            places = batch["masked_positions"][..., None]
            outputs = {"logits": np.take_along_axis(outputs["logits"], places, 1)}
        on_device: Batch[jax.Array] = jax.device_put(batch)
        for name, rows in reduce(jax.device_put(outputs), on_device).items():
            column = kept.setdefault(name, np.zeros((len(features), *rows.shape[1:]), rows.dtype))
            column[windows] = np.asarray(rows)
    model.train()
    predictions = task.decode(examples, features, kept, cfg)
    return task.score(examples, predictions, cfg), predictions


def _batches(head: str, source: BatchSource, total: int) -> Iterator[dict[str, torch.Tensor]]:
    for batch in itertools.islice(source.iter_from(0), total):
        yield pytorch.to_torch(head, {n: x[0] for n, x in batch.items()}, labelled=True)


def run(name: str, words: Sequence[str]) -> None:
    """Fine-tune, evaluate, and write the results.

    Args:
        name: of the task.
    """
    task_cls = TASKS[name]
    flags = TASK_COMMANDS[name].training
    opts = command_line.parse(flags, words, prog=f"jaxbert baseline {name}", description=__doc__)
    if not opts.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    opts.check_on_this_machine("jaxbert baseline")
    if opts.per_device_train_batch_size == AUTO:
        raise InputError(
            "--per_device_train_batch_size auto is not for the baseline; give a number"
        )
    for setting in settings_of(type(opts)):
        if setting.name in _UNKNOWN and getattr(opts, setting.name) != setting.default:
            raise InputError(f"--{setting.name} is not for the baseline, which does not have it")
    if opts.dtype == "float16":
        raise InputError("--dtype float16 is not for the baseline; give bfloat16 or float32")
    if opts.loss != next(iter(task_cls.losses)):
        raise InputError(f"--loss {opts.loss}: the baseline has {next(iter(task_cls.losses))} only")
    try:
        import torch
        import transformers
    except ImportError:
        raise InputError('PyTorch is not installed; pip install "jaxbert[baseline]"') from None
    folder = Path(opts.output_dir)
    check_writable(folder)
    task = task_cls(opts.part(task_cls.settings_cls))
    learned, scored = opts.training_source(), opts.validation_source()
    data = read_examples(task, learned)
    held_out = read_held_out(task, scored, needed_by=opts.comparing_models)
    if data is None or held_out is None:
        raise InputError("give --train_file and --validation_file")
    examples = data.examples
    task = task.fit_to(examples, held_out)
    loaded = load_model(task, opts, data, seed=opts.seed)
    cfg, params, tokenizer = loaded.cfg, loaded.params, loaded.tokenizer
    model = pytorch.load_model(cfg, params, task.head).train()  # the drawn head too is the same
    encoding = opts.encoding()
    features = encode_to_learn(task, examples, tokenizer, cfg, learned.label, **encoding)
    held_out_features = encode_examples(task, held_out, tokenizer, cfg, **encoding)
    sampler = make_sampler(
        features.lengths,
        width=cfg.hidden_size,
        parts=1,
        per_device_train_batch_size=opts.per_device_train_batch_size,
        max_seq_length=task.settings.max_seq_length,
        length_bucket=opts.length_bucket,
        seed=opts.seed,
    )
    corrupt = task.corrupt(tokenizer, cfg, seed=opts.seed)
    source = BatchSource(features, sampler, corrupt)
    steps = total_steps(opts.num_train_epochs, opts.max_steps, source.steps_per_epoch)
    tx = pytorch.make_optimizer(
        model,
        learning_rate=opts.learning_rate,
        weight_decay=opts.weight_decay,
        betas=(opts.adam_beta1, opts.adam_beta2),
        eps=opts.adam_epsilon,
    )
    warmup = warmup_of(opts.warmup_steps, opts.warmup_ratio, steps)
    schedule = transformers.get_scheduler(opts.lr_scheduler_type, tx, warmup, steps)
    torch.manual_seed(opts.seed)
    started = time.perf_counter()
    bar = tqdm(_batches(task.head, source, steps), total=steps)
    for number, batch in enumerate(bar):
        loss = pytorch.train_step(model, tx, batch, opts.dtype, opts.max_grad_norm)
        schedule.step()
        if number % 50 == 0:
            bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
    seconds = time.perf_counter() - started
    scores, predictions = _evaluate(
        task,
        loaded,
        model,
        held_out,
        held_out_features,
        seed=opts.seed,
        size=opts.per_device_eval_batch_size,
        buckets=bucket_lengths(opts.length_bucket, task.settings.max_seq_length),
        precision=opts.dtype,
    )
    write_results(folder, scores, task.artifacts(held_out, predictions, cfg))
    print(f"{steps} steps in {seconds:.0f} s; {show_scores(scores)}")
