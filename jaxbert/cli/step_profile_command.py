r"""Where the time of a training step goes, by the parts of the model.

    jaxbert step_profile
    jaxbert step_profile --model_name_or_path bert-base --max_seq_length 384

The parts' seconds are those of their operations; on a CPU these run beside each other on its cores,
so the parts add up to more than the step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option


@dataclasses.dataclass(frozen=True)
class StepProfileOptions(Settings):
    """Flags of the command."""

    model_name_or_path: str = option(
        "minilm-l6", "bert-base (with random weights), minilm-l6 or a folder.", path=True
    )
    per_device_train_batch_size: int = option(16, "Windows of the step.")
    max_seq_length: int = option(192, "Tokens of each window, none of them padding.")
    dtype: Literal["float32", "bfloat16"] = option("float32", "Of activations and products.")
    attention: Literal["auto", "xla", "cudnn", "pallas"] = option(
        "auto", "How attention is computed; all but xla without dropout of its weights."
    )
    debug: bool = option(False, "Show the traceback of an error.")


def run(words: Sequence[str]) -> None:
    """Print a table of the parts."""
    options = command_line.parse(
        StepProfileOptions, words, prog="jaxbert step_profile", description=__doc__
    )
    size, length = options.per_device_train_batch_size, options.max_seq_length
    if size < 1 or length < 8:
        raise InputError("--per_device_train_batch_size is at least 1, --max_seq_length at least 8")
    from jaxbert.benchmark import ours
    from jaxbert.benchmark.profiling import profile
    from jaxbert.benchmark.synthetic import full_batch
    from jaxbert.model.choose_attention import choose_attention
    from jaxbert.runtime.host import device

    cfg, params = ours.load(options.model_name_or_path)
    if length > cfg.positions:
        raise InputError(f"--max_seq_length {length}: it has {cfg.positions} positions")
    kernel, why = choose_attention(
        options.attention,
        dtype=options.dtype,
        heads=cfg.num_attention_heads,
        head_size=cfg.head_size,
        lengths=[length],
        packed=False,
        dropout=cfg.attention_probs_dropout_prob,
    )
    batch = full_batch(cfg.vocab_size, size, length)
    made = ours.prepare(cfg, params, [batch], precision=options.dtype, attention=kernel)
    found = profile(made)
    total = sum(found.parts.values())
    about = f"{options.model_name_or_path}, {size} x {length}, {options.dtype}, {device()}"
    print(f"attention: {kernel} ({why})")
    print(f"{about}: {found.step:.3f} s a step")
    print("\n| part | seconds | share |\n|---|---|---|")
    for part, seconds in sorted(found.parts.items(), key=lambda entry: -entry[1]):
        print(f"| {part} | {seconds:.3f} | {seconds / total:.1%} |")
