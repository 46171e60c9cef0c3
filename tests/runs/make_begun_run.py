"""Write begun_run/: a run that a former version of jaxbert began, for test_begun_run.py to resume.

Run it with the version whose runs must still be resumed; it is the one that is imported:

    PYTHONPATH=FORMER_VERSION python tests/runs/make_begun_run.py

    begun_run/model, train.tsv, dev.tsv   what the run is given
    begun_run/run                         stopped after step 3 of 6, as the former version left it
    begun_run/unbroken                    model, log and scores of the same run without a stop
"""

from __future__ import annotations

import json
import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "begun_run"
STOPPED = 3
# One device, and the compiler's flags of the tests: both decide on the bits.
XLA_FLAGS = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
WORDS = (
    *("--config_name", "model", "--train_file", "train.tsv", "--validation_file", "dev.tsv"),
    *("--max_seq_length", "16", "--length_bucket", "8", "--per_device_train_batch_size", "4"),
    *("--num_train_epochs", "2", "--eval_steps", "1", "--save_steps", "1"),
    *("--learning_rate", "1e-2", "--warmup_ratio", "0.2", "--weight_decay", "0.01"),
    *("--class_weights", "balanced"),
)

_CONFIG = {
    "model_type": "bert",
    "vocab_size": 21,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
    "initializer_range": 0.3,
}
_GOOD, _BAD = ("good", "fine", "warm", "kind"), ("bad", "dull", "cold", "rude")
_THINGS = ("soup", "film", "room", "town")
_OTHERS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "is", "very", "and")


def write_inputs(folder: Path) -> None:
    """A model folder without weights, and two tables of opinions."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")
    words = "\n".join((*_OTHERS, *_GOOD, *_BAD, *_THINGS)) + "\n"
    (folder / "model" / "vocab.txt").write_text(words)
    rows = []
    for thing in _THINGS:
        for label, words in (("good", _GOOD), ("bad", _BAD)):
            for number, word in enumerate(words):
                often = "very " * (number % 3 == 0)
                rows.append(f"the {thing} is {often}{word}\t{label}")
    # Of one class there are more to train on.
    training = [*rows[:9], *rows[16:19]]
    (folder / "train.tsv").write_text("\n".join(("text\tlabel", *training)) + "\n")
    (folder / "dev.tsv").write_text("\n".join(("text\tlabel", *rows[-8:])) + "\n")


class _StopAfter(logging.Handler):
    """Send this process SIGTERM once a step has been evaluated."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._start = f"step {step}: "

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._start):
            signal.raise_signal(signal.SIGTERM)


def train(output: str, stop_after: int | None) -> None:
    """Train as the script of the imported version does, and end with its exit status."""
    import jaxbert

    if stop_after is not None:
        logging.getLogger("jaxbert").addHandler(_StopAfter(stop_after))
    path = Path(jaxbert.__file__).parents[1] / "train" / "classification.py"
    sys.argv = [str(path), *WORDS, "--output_dir", output]
    runpy.run_path(str(path), run_name="__main__")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:  # Orbax writes where it was into its files
        folder = Path(name)
        write_inputs(folder)
        environment = os.environ | {"XLA_FLAGS": XLA_FLAGS, "JAX_PLATFORMS": "cpu"}
        for output, stop_after, status in (("unbroken", "", 0), ("run", str(STOPPED), 75)):
            command = [sys.executable, __file__, output, stop_after]
            done = subprocess.run(command, cwd=folder, env=environment, check=False)
            assert done.returncode == status, done.returncode
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(folder, FOLDER, ignore=_not_needed)


def _not_needed(folder: str, names: list[str]) -> set[str]:
    """What the test does not read."""
    place = Path(folder).name
    if place == "unbroken":
        return set(names) - {"model.safetensors", "train_log.jsonl", "metrics.json"}
    return set(names) - {str(STOPPED)} if place == "checkpoints" else {".lock"}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(sys.argv[1], int(sys.argv[2]) if sys.argv[2] else None)
    else:
        main()
