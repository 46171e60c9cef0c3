"""The baseline: transformers' PyTorch classes, trained and run as a careful user would.

It has fused AdamW and all threads, and reads nothing from the device before the end. transformers
inspects the mask where the model is not compiled, so windows without padding have none. torch and
transformers' models are imported where they are used: they come with the extra `baseline`. A
process of the baseline alone imports only those modules of jaxbert that need no JAX.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from jaxbert.benchmark.synthetic import CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY
from jaxbert.data.sampling import NumpyBatch

if TYPE_CHECKING:  # a process of the baseline alone imports no JAX
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from jaxbert.model.config import BertConfig
    from jaxbert.model.heads import Params

_INPUTS = ("input_ids", "token_type_ids", "attention_mask", "start_positions", "end_positions")


def device() -> str:
    """Where PyTorch computes: on the GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(
    cfg: BertConfig, params: Params, head: str, *, attention: str = "sdpa"
) -> PreTrainedModel:
    """transformers' model with these weights, on the device.

    Args:
        attention: transformers' attn_implementation.
    """
    import transformers

    from jaxbert.model.pretrained import save_pretrained

    transformers.utils.logging.disable_progress_bar()  # of the weights, once for every model
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, cfg, params, None, head=head)
        model_cls: type[PreTrainedModel] = getattr(transformers, cfg.family.classes[head])
        return _on_device(model_cls.from_pretrained(folder, attn_implementation=attention))


def load_by_name(name: str) -> PreTrainedModel:
    """transformers' model for questions, loaded without JAX; names are those of ours.load."""
    import transformers

    from jaxbert.model.folders import find_model_folder

    model_cls = transformers.BertForQuestionAnswering
    if name == "bert-base":
        return _on_device(model_cls(transformers.BertConfig()))
    return _on_device(model_cls.from_pretrained(find_model_folder(name)))


def _on_device(model: PreTrainedModel) -> PreTrainedModel:
    import torch

    return torch.nn.Module.to(model, device())  # transformers' `to` has no type to call it by


def to_torch(head: str, batch: NumpyBatch, *, labelled: bool) -> dict[str, torch.Tensor]:
    """The batch as transformers' classes take it, without its padding rows.

    Args:
        labelled: with the labels, for training.
    """
    import torch

    count = int((batch["row"] >= 0).sum())  # real rows may have weight 0: nothing to learn
    arrays = {n: batch[n][:count] for n in _INPUTS if n in batch and (labelled or "_pos" not in n)}
    if head == "multiple_choice":
        arrays = {n: np.swapaxes(x, 1, 2) for n, x in arrays.items()}
    if labelled and head == "mlm":  # one label a token, instead of one a masked position
        labels = np.full_like(arrays["input_ids"], -100)
        row, slot = np.nonzero(batch["labels"][:count] >= 0)
        labels[row, batch["masked_positions"][row, slot]] = batch["labels"][row, slot]
        arrays["labels"] = labels
    elif labelled and "labels" in batch:
        arrays["labels"] = batch["labels"][:count]
    wide = {n: x.astype(np.int64) if x.dtype == np.int32 else x for n, x in arrays.items()}
    return {n: torch.from_numpy(np.ascontiguousarray(x)) for n, x in wide.items()}


def to_device(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch on the device."""
    return {name: x.to(device(), non_blocking=True) for name, x in batch.items()}


def make_optimizer(
    model: torch.nn.Module,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> torch.optim.Optimizer:
    """Fused AdamW; as in BERT's fine-tuning, biases and LayerNorm are not decayed."""
    import torch

    plain = [x for n, x in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    plain_ids = {id(x) for x in plain}
    decayed = [x for x in model.parameters() if id(x) not in plain_ids]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=learning_rate,
        betas=betas,
        eps=eps,
        fused=True,
    )


def autocast(precision: str) -> torch.autocast | contextlib.nullcontext[None]:
    """PyTorch's mixed precision, as with Hugging Face's --bf16; for float32 none."""
    import torch

    if precision == "float32":
        if device() == "cuda":  # JAX's float32 products are TF32 there; PyTorch asks
            torch.set_float32_matmul_precision("high")
        return contextlib.nullcontext()
    return torch.autocast(device(), dtype=torch.bfloat16)


def computed_in(cfg: BertConfig, params: Params, batch: NumpyBatch, precision: str) -> str:
    """The dtype that the model's products have when this precision is asked for."""
    import torch

    model = load_model(cfg, params, "qa")
    inputs = to_device(to_torch("qa", {n: x[:1] for n, x in batch.items()}, labelled=False))
    with torch.inference_mode(), autocast(precision):
        return str(model(**inputs).start_logits.dtype).removeprefix("torch.")


def train_step(
    model: torch.nn.Module,
    tx: torch.optim.Optimizer,
    batch: dict[str, torch.Tensor],
    precision: str,
    clip: float,
) -> torch.Tensor:
    """One step; returns the loss on the device, without waiting for it."""
    import torch

    with autocast(precision):
        loss: torch.Tensor = model(**to_device(batch)).loss
    loss.backward()
    if clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    tx.step()
    tx.zero_grad(set_to_none=True)
    return loss


def training(
    cfg: BertConfig,
    params: Params,
    batches: Sequence[NumpyBatch],
    *,
    precision: str,
    attention: str = "sdpa",
    compiled: bool = False,
    multiple: int | None = None,
) -> Callable[[], float]:
    """A function that trains question answering on all batches once and returns the seconds.

    Args:
        compiled: with torch.compile, once for all lengths.
        multiple: pads the batches to multiples of it and compiles each length by itself.
    """
    model = load_model(cfg, params, "qa", attention=attention)
    if multiple:
        batches = [_padded(batch, multiple) for batch in batches]
    return prepare(
        model, batches, precision=precision, compiled=compiled, each_length=multiple is not None
    ).run


def _padded(batch: NumpyBatch, multiple: int) -> NumpyBatch:
    more = -batch["input_ids"].shape[1] % multiple
    return {n: np.pad(x, ((0, 0), (0, more))) if x.ndim == 2 else x for n, x in batch.items()}


@dataclasses.dataclass
class Training:
    """A model with its optimizer and batches.

    Attributes:
        model: in training mode, compiled or not.
        batches: on the host, with labels.
    """

    model: torch.nn.Module
    tx: torch.optim.Optimizer
    batches: list[dict[str, torch.Tensor]]
    precision: str

    def step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Train on a batch; see train_step."""
        return train_step(self.model, self.tx, batch, self.precision, clip=CLIP_NORM)

    def run(self) -> float:
        """Train on all batches once, and return the seconds."""
        finish()
        start = time.perf_counter()
        loss = None
        for batch in self.batches:
            loss = self.step(batch)
        if loss is not None:
            loss.item()
        finish()
        return time.perf_counter() - start


def prepare(
    model: PreTrainedModel,
    batches: Sequence[NumpyBatch],
    *,
    precision: str,
    compiled: bool = False,
    each_length: bool = False,
    remat: bool = False,
    learning_rate: float = LEARNING_RATE,
) -> Training:
    """The training of question answering.

    Args:
        compiled: with torch.compile.
        each_length: each length is compiled by itself, instead of all at once.
        remat: activations are computed again for the gradient, to save memory.
    """
    model.train()
    if remat:
        model.gradient_checkpointing_enable()
    tx = make_optimizer(model, learning_rate=learning_rate, weight_decay=WEIGHT_DECAY)
    lengths = {batch["input_ids"].shape for batch in batches}
    dynamic = len(lengths) > 1 and not each_length
    called = compile_model(model, dynamic=dynamic) if compiled else model
    if all(batch["attention_mask"].all() for batch in batches):
        batches = [{n: x for n, x in b.items() if n != "attention_mask"} for b in batches]
    ready = [to_torch("qa", batch, labelled=True) for batch in batches]
    if device() == "cuda":
        ready = [{n: x.pin_memory() for n, x in batch.items()} for batch in ready]
    return Training(called, tx, ready, precision)


def compile_model(model: torch.nn.Module, *, dynamic: bool) -> torch.nn.Module:
    """The model compiled, for one shape or for all."""
    import torch

    # By default a class has eight programs, those of earlier rows too; later ones are not compiled.
    torch._dynamo.config.recompile_limit = 64
    compiled = torch.compile(model, dynamic=dynamic)
    assert isinstance(compiled, torch.nn.Module)  # its type is only a callable
    return compiled


def finish() -> None:
    """Wait for the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def free() -> None:
    """Free the unused memory of the device, for JAX."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# --- questions, as transformers' example scripts answer them ------------------------------------


class Windows(TypedDict):
    """The columns of prepare_validation_features: per window a list with a value per token.

    Attributes:
        offset_mapping: per token its characters, or None outside of the context.
        overflow_to_sample_mapping: the number of each window's question.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    attention_mask: list[list[int]]
    offset_mapping: list[list[tuple[int, int] | None]]
    overflow_to_sample_mapping: list[int]


class Answer(TypedDict):
    """A span of the context, in characters; the n best have a text and a probability."""

    score: float
    offsets: tuple[int, int]
    text: NotRequired[str]
    probability: NotRequired[float]


def encode_questions(
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    length: int,
    stride: int,
) -> Windows:
    """run_qa.py's prepare_validation_features: windows with the offsets of their context."""
    encoded = tokenizer(
        list(questions),
        list(contexts),
        truncation="only_second",
        max_length=length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        padding=False,
    )
    for window, offsets in enumerate(encoded["offset_mapping"]):
        second = encoded.sequence_ids(window)
        encoded["offset_mapping"][window] = [
            o if second[k] == 1 else None for k, o in enumerate(offsets)
        ]
    return {
        "input_ids": encoded["input_ids"],
        "token_type_ids": encoded["token_type_ids"],
        "attention_mask": encoded["attention_mask"],
        "offset_mapping": encoded["offset_mapping"],
        "overflow_to_sample_mapping": encoded["overflow_to_sample_mapping"],
    }


def predict_questions(
    model: torch.nn.Module,
    windows: Windows,
    *,
    size: int,
    precision: str,
    most: int | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Start and end logits of every window, in batches of similar length, padded to the longest.

    Args:
        size: windows of a batch.
        most: tokens of a batch; a batch with more is halved.
    """
    import torch

    ids = windows["input_ids"]
    columns = {
        "input_ids": ids,
        "token_type_ids": windows["token_type_ids"],
        "attention_mask": windows["attention_mask"],
    }
    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    starts = [np.empty(0)] * len(ids)
    ends = [np.empty(0)] * len(ids)
    outputs = []  # read after all batches have been started
    pinned = device() == "cuda"
    model.eval()
    with torch.inference_mode(), autocast(precision):
        while order:
            rows = size
            while most and rows > 1 and rows * len(ids[order[:rows][-1]]) > most:
                rows //= 2
            part, order = order[:rows], order[rows:]
            longest = len(ids[part[-1]])
            batch = {}
            for name, values in columns.items():
                padded = torch.zeros(len(part), longest, dtype=torch.int64, pin_memory=pinned)
                for row, n in enumerate(part):
                    padded[row, : len(ids[n])] = torch.tensor(values[n])
                batch[name] = padded
            out = model(**to_device(batch))
            outputs.append((part, out.start_logits, out.end_logits))
    for part, start_logits, end_logits in outputs:
        s, e = start_logits.float().cpu().numpy(), end_logits.float().cpu().numpy()
        for row, n in enumerate(part):
            starts[n], ends[n] = s[row, : len(ids[n])], e[row, : len(ids[n])]
    return starts, ends


def best_answers(
    contexts: Sequence[str],
    windows_of: Sequence[Sequence[int]],
    offsets: Sequence[Sequence[tuple[int, int] | None]],
    starts: Sequence[np.ndarray],
    ends: Sequence[np.ndarray],
    *,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> list[list[Answer]]:
    """The n-best search in pure Python, as in transformers' postprocess_qa_predictions.

    Args:
        windows_of: per question the numbers of its windows.
        offsets: per window and token its characters, or None outside of the context.
    """
    answers = []
    for context, windows in zip(contexts, windows_of, strict=True):
        entries: list[Answer] = []
        for w in windows:
            spans, s, e = offsets[w], starts[w], ends[w]
            first = np.argsort(s)[-1 : -n_best - 1 : -1].tolist()
            last = np.argsort(e)[-1 : -n_best - 1 : -1].tolist()
            for i in first:
                for j in last:
                    if i >= len(spans) or j >= len(spans):
                        continue
                    start, end = spans[i], spans[j]
                    if not start or not end or j < i or j - i + 1 > max_answer_length:
                        continue
                    span = (start[0], end[1])
                    entries.append({"score": float(s[i] + e[j]), "offsets": span})
        entries.sort(key=lambda entry: -entry["score"])
        kept = entries[:n_best] or [{"score": 0.0, "offsets": (0, 0)}]
        scores = np.array([entry["score"] for entry in kept])
        odds = np.exp(scores - scores.max())
        for entry, p in zip(kept, odds / odds.sum(), strict=True):
            a, b = entry["offsets"]
            entry["text"], entry["probability"] = context[a:b], float(p)
        answers.append(kept)
    return answers


def windows_of(windows: Windows, questions: int) -> list[list[int]]:
    """Per question the numbers of its windows."""
    groups = collections.defaultdict(list)
    for window, question in enumerate(windows["overflow_to_sample_mapping"]):
        groups[question].append(window)
    return [groups[question] for question in range(questions)]
