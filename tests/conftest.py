"""Hostile settings for every test: eight CPU devices, and warnings are errors (pyproject.toml)."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile

# Compiling is most of the tests' time, and LLVM's optimizations most of that: without them the same
# XLA programs are compiled in less than half the time. JAXBERT_TEST_XLA_FLAGS= (empty) has them; a
# test of what users run asks for them.
# Read when JAX starts its backend, so set before any test imports it.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 " + os.environ.get(
    "JAXBERT_TEST_XLA_FLAGS", "--xla_backend_optimization_level=0"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX_PLATFORMS=cuda tries the kernels there
os.environ["HF_HUB_OFFLINE"] = "1"
# What `datasets` converts is written there, not among the user's files; read when it is imported.
_DATASETS = tempfile.TemporaryDirectory(prefix="jaxbert-datasets-")
os.environ["HF_DATASETS_CACHE"] = _DATASETS.name
if os.environ["JAX_PLATFORMS"] == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

from checked_types import ROOMS
from jaxtyping import install_import_hook

# Without PyTorch, as on an interpreter that is tried beside the main one, files that compare with
# it are left out.
HAS_TORCH = importlib.util.find_spec("torch") is not None
_IMPORTS_TORCH = re.compile(r"^(?:import|from) torch", re.MULTILINE)

if os.environ.get("JAXBERT_TEST_TYPES", "1") != "0":
    install_import_hook(ROOMS, "checked_types.check")

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import settings
from jax.experimental.compilation_cache import compilation_cache

from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.model.pretrained import name_table, save_pretrained

# The same examples every time, so that CI fails for what has changed alone, and however long they
# take on a busy machine. `--hypothesis-profile random` draws others.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("fixed")

COMPILER_FLAGS = os.environ["XLA_FLAGS"].partition(" ")[2]
REPOSITORY = Path(__file__).parent.parent
DEMO = REPOSITORY / "jaxbert" / "demo"
_PUBLIC = os.environ.get("JAXBERT_DATA", REPOSITORY.parent / "shared" / "data")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs PyTorch where it is not; None leaves the decision to pytest."""
    if HAS_TORCH or collection_path.suffix != ".py":
        return None
    return True if _IMPORTS_TORCH.search(collection_path.read_text("utf-8")) else None


def pytest_report_header() -> str | None:
    if HAS_TORCH:
        return None
    return "PyTorch is not installed: files that compare with it are left out"


# A worker takes a file of tests at a time: the longest first, so that both end together.
LONGEST = (
    *("test_task_scripts.py", "test_scripts.py", "test_own_losses.py", "test_kills.py"),
    "test_packed_and_masked_runs.py",
    *("test_passes.py", "test_invariances.py", "test_hostile_folders.py", "test_packed_rows.py"),
    *("test_choose.py", "test_devices.py", "test_train.py", "test_in_memory.py"),
    *("test_parity.py", "test_heads.py", "test_benchmark_rows.py", "test_own_calls.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


def public_data(name: str) -> Path:
    """A file of the public data sets; the test is skipped where there is none."""
    path = Path(_PUBLIC, name)
    if not path.is_file():
        pytest.skip(f"{path} is not there; set JAXBERT_DATA to a folder with the public data sets")
    return path


def tiny_vocabulary() -> list[str]:
    """Special tokens, and every character of the demo's English texts alone and as a sub-word."""
    texts = (DEMO / "qa_en_train.json").read_text() + (DEMO / "qa_en_dev.json").read_text()
    letters = sorted({c for c in texts.lower() if not c.isspace()})
    words = ["the", "of", "and", "in", "what", "which", "who", "is", "was", "to", "at"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return [*special, *words, *letters, *(f"##{c}" for c in letters)]


TINY = BertConfig(
    vocab_size=512,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=512,
)
TINIEST = dataclasses.replace(TINY, num_hidden_layers=1)
# For short rows that need no folder; three classes, and weights that make a difference.
SMALL = dataclasses.replace(
    TINIEST,
    vocab_size=50,
    max_position_embeddings=20,
    initializer_range=0.3,
    id2label=("a", "b", "c"),
)


class StrictReports(logging.Filter):
    """Makes an error of what is a warning elsewhere: report.html could not be written."""

    expected = False

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.expected and "report.html could not be" in record.getMessage():
            raise AssertionError(record.getMessage())
        return True


@pytest.fixture(autouse=True)
def strict_reports() -> Iterator[StrictReports]:
    """Every test fails whose run cannot make its report; a test may set `expected`."""
    reports = StrictReports()
    logging.getLogger("jaxbert").addFilter(reports)  # a handler would be in place of jaxbert's own
    yield reports
    logging.getLogger("jaxbert").removeFilter(reports)


class CompiledPrograms:
    """Lets go of what this process has compiled before its maps of memory are used up.

    Linux gives a process 65,530 of them, a compiled step takes some hundred, and XLA ends with a
    segmentation fault where it gets no other one.
    """

    MOST = 16_000
    MAPS = Path("/proc/self/maps")

    def __init__(self) -> None:
        self._added = False
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self._added |= event == "/jax/core/compile/backend_compile_duration"

    def let_go(self) -> None:
        """Let go of all programs if there are new ones, and too many."""
        if not self._added or not self.MAPS.exists():
            return
        self._added = False
        if self.MAPS.read_bytes().count(b"\n") > self.MOST:
            jax.clear_caches()


COMPILED = CompiledPrograms()


@pytest.fixture(autouse=True)
def few_compiled_programs() -> Iterator[None]:
    """After each test; those of one that fails too."""
    yield
    COMPILED.let_go()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT folder of 2 layers and 16 hidden with random weights and a vocab.txt."""
    return write_folder(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.fixture(scope="session")
def tiniest_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of 1 layer, for trainings of which there are many."""
    return write_folder(tmp_path_factory.mktemp("tiniest"), TINIEST)


def write_folder(folder: Path, cfg: BertConfig) -> Path:
    rng = np.random.default_rng(0)
    leaves = {
        entry.leaf: np.float32(entry.leaf[-1] == "scale")
        + rng.normal(0, 0.02, entry.shape).astype(np.float32)
        for entry in name_table(cfg, "qa")
    }
    save_pretrained(folder, cfg, traverse_util.unflatten_dict(leaves), None)
    (folder / "vocab.txt").write_text("\n".join(tiny_vocabulary()) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config_to_dict(cfg)))
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """A function that writes text or bytes as they are, or else JSON, and gives the path."""

    def write(content: Any, name: str = "data.json") -> str:
        path = tmp_path / name
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def write_squad(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a SQuAD file of (id, question, context, [(text, start)]) rows."""

    def write(rows: list[Any], name: str = "data.json", **extra: Any) -> Path:
        data = [
            {
                "title": f"title {n}",
                "paragraphs": [
                    {
                        "context": context,
                        "qas": [
                            {
                                "id": id_,
                                "question": question,
                                "answers": [{"text": t, "answer_start": s} for t, s in answers],
                                **extra,
                            }
                        ],
                    }
                ],
            }
            for n, (id_, question, context, answers) in enumerate(rows)
        ]
        path = tmp_path / name
        path.write_text(json.dumps({"version": "test", "data": data}), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what this worker has compiled, whichever file of tests asked for it."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def compilations(compiled: Path) -> Iterator[None]:
    """Compilations are kept in a folder, and not optimized; also in processes that are started."""
    settings: dict[str, Any] = {
        "jax_compilation_cache_dir": str(compiled),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_disable_most_optimizations": True,
    }
    before = {name: jax.config.values[name] for name in settings}
    compilation_cache.reset_cache()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
