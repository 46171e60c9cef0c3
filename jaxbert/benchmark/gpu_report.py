"""The parts of --gpu_report that are no rows of the benchmark: what is right on this device, and
whole trainings."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxbert.benchmark.device_checks import Check, equal_bits, kernels
from jaxbert.benchmark.energy import joules
from jaxbert.errors import InputError
from jaxbert.io.files import Json, write_json, write_text
from jaxbert.model.attention import Attention
from jaxbert.model.choose_attention import choose_attention


def check(folder: Path, checks: Iterable[Check]) -> None:
    """Try all; checks.json and checks.md have what was found so far.

    Raises:
        InputError: something is wrong, of which no time would be worth anything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Check] = []
    for one in checks:
        print(f"{'right' if one.passed else 'WRONG'}: {one.name}: {one.found}", flush=True)
        found.append(one)
        _write(folder, found)
    if wrong := [one.name for one in found if not one.passed]:
        raise InputError(f"not right on this device: {'; '.join(wrong)}; see {folder}/checks.md")


def checks_here(folder: Path) -> Iterator[Check]:
    """Those of the kernels that this card has, then the one of equal bits.

    Args:
        folder: for the runs that are compared.
    """
    kernel, why = choose_attention(
        "auto", dtype="bfloat16", heads=12, head_size=64, lengths=[512], packed=True, dropout=0.1
    )
    if kernel == "xla":
        yield Check("kernels", True, f"none to try: {why}")
    else:
        yield from kernels(Attention(kernel))
    yield equal_bits(folder / "runs", [sys.executable])


def _write(folder: Path, found: list[Check]) -> None:
    write_json(folder / "checks.json", [one._asdict() for one in found])
    rows = [f"| {one.name} | {'yes' if one.passed else '**no**'} | {one.found} |" for one in found]
    table = ["| what | right | found |", "|---|---|---|", *rows]
    write_text(folder / "checks.md", "\n".join(table) + "\n")


def train(folder: Path, words: Sequence[str]) -> None:
    """Train on questions by jaxbert and by PyTorch, each as a command of its own.

    jaxbert packs its rows. PyTorch has batches of like length, by SDPA and not compiled: the rows
    of the benchmark are beside its fastest way. training.json and training.md have what each took
    and the scores that it reached; where the card tells its energy, that too.

    Args:
        words: what both commands are given; see TRAINING.

    Raises:
        InputError: a training failed.
    """
    ours, theirs = folder / "runs" / "questions", folder / "runs" / "questions_pytorch"
    # A former report's run would be there already, and done.
    own = ("train", "qa", *words, "--packing", "--output_dir", str(ours), "--overwrite_output_dir")
    sides = {
        "jaxbert": _trained(own, ours),
        "PyTorch": _trained(("baseline", "qa", *words, "--output_dir", str(theirs)), theirs),
    }
    write_json(folder / "training.json", {side: one._asdict() for side, one in sides.items()})
    table = ["| | seconds | joules | exact_match | f1 |", "|---|---|---|---|---|"]
    for side, one in sides.items():
        energy = "" if one.joules is None else f"{one.joules:,}"
        exact, f1 = one.scores["exact_match"], one.scores["f1"]
        table.append(f"| {side} | {one.seconds:.0f} | {energy} | {exact:.2f} | {f1:.2f} |")
    write_text(folder / "training.md", "\n".join(table) + "\n")
    print(*table, sep="\n", flush=True)


# Three epochs in bfloat16.
TRAINING = (
    *("--model_name_or_path", "minilm-l6", "--num_train_epochs", "3", "--dtype", "bfloat16"),
    *("--per_device_train_batch_size", "64", "--learning_rate", "1e-4", "--warmup_ratio", "0.1"),
)


class _Trained(NamedTuple):
    """A command, what it took with reading, compiling and evaluating, and the scores reached."""

    command: tuple[str, ...]
    seconds: float
    joules: int | None
    scores: dict[str, float]


def _trained(words: tuple[str, ...], output: Path) -> _Trained:
    before, start = joules(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "jaxbert", *words], check=False)
    if done.returncode:
        raise InputError(f"jaxbert {' '.join(words[:2])}: the training failed; see above")
    seconds, after = time.perf_counter() - start, joules()
    energy = None if before is None or after is None else round(after - before)
    scores: dict[str, Json] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    numbers = {name: float(x) for name, x in scores.items() if isinstance(x, int | float)}
    return _Trained(words, round(seconds, 1), energy, numbers)
