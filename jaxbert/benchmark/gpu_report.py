"""The parts of --gpu_report that are no rows of the benchmark: what is right on this device, and a
whole training."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def train(folder: Path, train_file: str, validation_file: str) -> None:
    """Three epochs of questions in bfloat16, packed; the run has its scores and its log.

    Raises:
        InputError: the training failed.
    """
    output = folder / "runs" / "questions"
    words = ["train", "qa", "--model_name_or_path", "minilm-l6", "--num_train_epochs", "3"]
    words += ["--train_file", train_file, "--validation_file", validation_file]
    words += ["--per_device_train_batch_size", "64", "--dtype", "bfloat16", "--packing"]
    words += ["--learning_rate", "1e-4", "--warmup_ratio", "0.1", "--output_dir", str(output)]
    words += ["--overwrite_output_dir"]  # a former report's run would be there already, and done
    before, start = joules(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "jaxbert", *words], check=False)
    if done.returncode:
        raise InputError(f"three epochs of {train_file}: the training failed; see above")
    seconds, after = time.perf_counter() - start, joules()
    energy = None if before is None or after is None else round(after - before)
    scores: Json = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    found: dict[str, Json] = {"command": words, "seconds": round(seconds, 1), "joules": energy}
    write_json(folder / "training.json", {**found, "scores": scores})
    taken = "" if energy is None else f" and {energy:,} J"
    print(f"three epochs in {seconds:.0f} s{taken}, with reading, compiling and evaluating")
