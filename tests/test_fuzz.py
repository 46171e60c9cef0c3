"""Every parser under mutated files: it gives a value that is sound or an InputError of one line.

The files are valid ones with a few faults: of bytes, or of values in their JSON. Hypothesis's own
seed is fixed in the small counts, so that a run repeats; the nightly ones draw others.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import jax
import numpy as np
import pytest
from conftest import DEMO, tiny_vocabulary
from every_task import OPTIONS
from flax import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from jaxbert import decode_spans
from jaxbert.data.features import tokenize
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig, config_from_dict, config_to_dict, load_config
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.model.weights import open_weights
from jaxbert.options.task_settings import QAOptions
from jaxbert.runs.record import check_task
from jaxbert.runs.saved import saved_options
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging

pytestmark = pytest.mark.integration

COUNTS = [
    500,
    pytest.param(20_000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)]),
]


def run(count: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Hold that the check passes for so many examples."""
    settings(
        max_examples=count,
        derandomize=count == COUNTS[0],
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )(given(strategy)(check))()


# --- mutations --------------------------------------------------------------------------------

# What parsers have stumbled over elsewhere.
PIECES = [
    *(
        b"\0",
        b"\xff",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\t",
        b'"',
        b"\\",
        b"\xed\xa0\x80",
    ),
    *(b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1"),
    *(b"\\ud800", b"\\u0000", "\u2028\u0085\u202e".encode(), b"9" * 40, b"9" * 5000, b"[" * 3000),
    *(b"\xff" * 8, b"\0" * 8, struct.pack("<Q", 2**63), struct.pack("<Q", 100 << 20)),
]


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes after up to five flips, cuts, insertions, copies and removals."""
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["flip", "cut", "piece", "noise", "splice", "remove", "begin"]))
        at = draw(st.integers(0, len(raw)))
        to = min(len(raw), at + draw(st.integers(0, 40)))
        if kind == "flip" and at < len(raw):
            raw = raw[:at] + bytes([raw[at] ^ 1 << draw(st.integers(0, 7))]) + raw[at + 1 :]
        elif kind == "cut":
            raw = raw[:at]
        elif kind == "piece":
            raw = raw[:at] + draw(st.sampled_from(PIECES)) + raw[to:]
        elif kind == "noise":
            raw = raw[:at] + draw(st.binary(max_size=9)) + raw[at:]
        elif kind == "splice":
            other = draw(st.integers(0, len(raw)))
            raw = raw[:other] + raw[at:to] + raw[other:]
        elif kind == "remove":
            raw = raw[:at] + raw[to:]
        elif kind == "begin":
            raw = draw(st.binary(max_size=12)) + raw[at:]
    return raw


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**31, 2**32, 2**63, -(2**63), 10**30, 512, 511])
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(
        ["", "a\nb", "\ud800", "\x1b[2J", "BPE", "Sequence", "Split", "[UNK]", "the"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value; of long lists and objects the first ten."""
    found = [path] if path else []
    items = enumerate(tree) if isinstance(tree, list) else getattr(tree, "items", tuple)()
    for key, value in [*items][:10]:
        found += places(value, (*path, key))
    return found


@st.composite
def altered(draw: st.DrawFn, tree: Any) -> Any:
    """The JSON content with up to three values that are others, gone, or under another name."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        all_places = places(tree)
        if not all_places:
            return draw(VALUES)
        *above, last = draw(st.sampled_from(all_places))
        parent = tree
        for key in above:
            parent = parent[key]
        kind = draw(st.sampled_from(["value", "value", "value", "gone", "other"]))
        if kind == "value":
            parent[last] = draw(VALUES)
        elif kind == "gone":
            del parent[last]
        elif isinstance(parent, dict):
            name = draw(st.text(max_size=3) | st.sampled_from([*parent]))
            parent[name] = parent.pop(last)
    return tree


def mutated(content: Any) -> st.SearchStrategy[bytes]:
    """Valid JSON content, damaged in its bytes or in its values."""
    values = altered(content).map(lambda tree: json.dumps(tree).encode())
    return damaged(json.dumps(content).encode()) | values


def outcome(call: Callable[[], Any], path: Path) -> Any:
    """What the call gives, or None for an InputError of one line that begins with the file."""
    try:
        return call()
    except InputError as error:
        message = str(error)
    assert message.startswith((str(path), str(path.parent)))
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 20_000
    return None


# --- model folders ----------------------------------------------------------------------------

CONFIG = {
    **config_to_dict(BertConfig(vocab_size=512, id2label=("no", "yes"))),
    "architectures": ["BertForSequenceClassification"],
    "classifier_dropout": None,
    "_attn_implementation": "sdpa",
}


@pytest.mark.parametrize("count", COUNTS)
def test_config(tmp_path: Path, count: int) -> None:
    path = tmp_path / "config.json"

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        cfg = outcome(lambda: load_config(tmp_path), path)
        if cfg is not None:
            saved = json.dumps(config_to_dict(cfg), allow_nan=False, ensure_ascii=False)
            assert config_from_dict(json.loads(saved.encode()), "") == cfg

    run(count, mutated(CONFIG), check)


TENSORS = {
    "bert.embeddings.word_embeddings.weight": np.ones((6, 2), np.float32),
    "qa_outputs.weight": np.ones((2, 2), np.float16),
    "qa_outputs.bias": np.ones(2, np.float32),
    "empty": np.ones((0, 3), np.float64),
}


def read_all(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every tensor read; its shape must be the one that was announced."""
    with open_weights(folder, 1 << 20) as tensors:
        for tensor in tensors.values():
            # Of 8-bit floats, which load_pretrained refuses by name.
            with contextlib.suppress(AttributeError, TypeError):
                assert tensor.read().shape == tensor.shape
        return {name: tensor.shape for name, tensor in tensors.items()}


@pytest.mark.parametrize("count", COUNTS)
def test_safetensors(tmp_path: Path, count: int) -> None:
    path = tmp_path / "model.safetensors"
    raw = save(TENSORS, {"format": "pt"})
    size = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]

    def with_size(new: bytes) -> bytes:
        return struct.pack("<Q", len(new)) + new + data

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        outcome(lambda: read_all(tmp_path), path)

    run(count, damaged(raw) | mutated(header).map(with_size), check)


@pytest.mark.parametrize("count", COUNTS)
def test_msgpack(tmp_path: Path, count: int) -> None:
    path = tmp_path / "flax_model.msgpack"
    tree = {
        "bert": {"embeddings": {"word_embeddings": {"embedding": np.ones((6, 2), np.float32)}}},
        "qa_outputs": {"kernel": np.ones((2, 2), np.float16), "bias": np.zeros(2, np.float32)},
    }

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        outcome(lambda: read_all(tmp_path), path)

    run(count, damaged(serialization.to_bytes(tree)), check)


RECORD = {
    "task": "qa",
    "options": {"max_seq_length": 384, "metric": "squad", "strict": False, "train_file": ["a"]},
    "rows_per_step": 8,
    "data": {"train": "0" * 64},
    "loss": "",
    "job": None,
    "versions": {"jax": "0.10.2"},
}
FITTED = {
    "null_score_diff_threshold": -1.5,
    "score_temperature": 2,
    "version_2_with_negative": True,
    "model": {},
    "fitted_to": ["a", "b"],
}


@pytest.mark.parametrize("count", COUNTS)
def test_records_of_a_run(tmp_path: Path, count: int) -> None:
    """What is taken of them has the types of the options."""
    paths = tmp_path / "options.json", tmp_path / "calibration.json"
    kinds = get_type_hints(QAOptions)

    def check(files: tuple[bytes, bytes]) -> None:
        for path, raw in zip(paths, files, strict=True):
            path.write_bytes(raw)
        outcome(lambda: check_task(tmp_path, "qa"), paths[0])
        saved = outcome(lambda: saved_options(tmp_path, QAOptions), paths[0])
        for name in kinds.keys() & (saved or {}):
            QAOptions(**{name: saved[name]})
            if kinds[name] is int:
                assert type(saved[name]) is int

    whole = st.just(json.dumps(RECORD).encode()), st.just(json.dumps(FITTED).encode())
    run(count, st.tuples(mutated(RECORD), whole[1]) | st.tuples(whole[0], mutated(FITTED)), check)


@pytest.mark.parametrize("count", COUNTS)
def test_index_of_shards(tmp_path: Path, count: int) -> None:
    path = tmp_path / "model.safetensors.index.json"
    (tmp_path / "a.safetensors").write_bytes(save(TENSORS))
    index = {"metadata": {"size": 1}, "weight_map": dict.fromkeys(TENSORS, "a.safetensors")}

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        outcome(lambda: read_all(tmp_path), path)

    run(count, mutated(index), check)


def sound_tokenizer(folder: Path) -> None:
    """Where there is a tokenizer, it encodes any text to tokens that the model has rows for."""
    tokenizer = load_tokenizer(folder, vocab_size=512)
    text = "The of [MASK] caf\u00e9\ufffd \u8336 " + "x" * 150
    ids = [*tokenizer(text, text)["input_ids"], *tokenize(tokenizer, [text])[text].ids]
    assert 0 <= min(ids) <= max(ids) < 512
    assert len(ids) < 2000
    tokenizer.decode(ids)


@pytest.fixture(scope="module")
def tokenizer_json(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer.json of few words."""
    folder = tmp_path_factory.mktemp("tokenizer")
    load_tokenizer(tiny_folder).save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {token: vocab[token] for token in [*vocab][:20]}
    return content


@pytest.mark.parametrize("count", COUNTS)
def test_tokenizer_json(tmp_path: Path, tokenizer_json: Any, count: int) -> None:
    path = tmp_path / "tokenizer.json"

    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        outcome(lambda: sound_tokenizer(tmp_path), path)

    run(count, mutated(tokenizer_json), check)


@pytest.mark.parametrize("count", COUNTS)
def test_vocabulary_and_its_settings(tmp_path: Path, count: int) -> None:
    words = "\n".join(tiny_vocabulary()[:20]).encode()
    config = {"do_lower_case": False, "model_max_length": 128, "tokenizer_class": "BertTokenizer"}

    def check(files: tuple[bytes, bytes]) -> None:
        (tmp_path / "vocab.txt").write_bytes(files[0])
        (tmp_path / "tokenizer_config.json").write_bytes(files[1])
        outcome(lambda: sound_tokenizer(tmp_path), tmp_path / "vocab.txt")

    whole = st.just(words), st.just(json.dumps(config).encode())
    run(count, st.tuples(damaged(words), whole[1]) | st.tuples(whole[0], mutated(config)), check)


# --- data -------------------------------------------------------------------------------------


def check_data(path: Path, task: Any, **given: Any) -> None:
    options = OPTIONS[task.name](**given)
    reader = task(options.part(task.settings_cls))
    data = outcome(lambda: reader.read([(str(path), reader.load(str(path)))]), path)
    if data is None:
        return
    assert data.examples
    for problem in data.problems:
        assert f"{problem.where}{problem.what}".isprintable()
    repr(data).encode()  # no surrogate is left
    if task is QA:
        for example in data.examples:
            for answer in example.answers:
                assert answer.start is None or example.context.startswith(answer.text, answer.start)


def first(name: str, kind: str) -> Any:
    """The first rows of a file of the demo."""
    raw = (DEMO / name).read_bytes()
    if kind == "squad":
        content = json.loads(raw)
        content["data"] = content["data"][:2]
        for article in content["data"]:
            del article["paragraphs"][1:]
        return content
    return b"".join(raw.splitlines(keepends=True)[:6])


@pytest.mark.parametrize("count", COUNTS)
def test_squad(tmp_path: Path, count: int) -> None:
    path = tmp_path / "data.json"

    def check(case: tuple[bytes, bool]) -> None:
        path.write_bytes(case[0])
        check_data(path, QA, strict=case[1])

    run(count, st.tuples(mutated(first("qa_en_dev.json", "squad")), st.booleans()), check)


CONLL = b"-DOCSTART- -X- O\n\nThe DT O\nof IN B-PER\n\n1\tcaf\xc3\xa9\tNN\tI-PER\n"


@pytest.mark.parametrize("count", COUNTS)
def test_conll(tmp_path: Path, count: int) -> None:
    def check(case: tuple[bytes, str, str | None]) -> None:
        raw, suffix, column = case
        path = tmp_path / f"data{suffix}"
        path.write_bytes(raw)
        check_data(path, Tagging, label_column_name=column)

    suffixes, columns = st.sampled_from([".conll", ".conllu"]), st.sampled_from([None, "1", "-1"])
    run(count, st.tuples(damaged(CONLL), suffixes, columns), check)


TABLES: list[tuple[Any, str, bytes]] = [
    (Classification, ".csv", b'text,label\n"a ""b""",1\nc,0\n'),
    (Classification, ".tsv", b"text\tlabel\na b\t1\nc\t0\n"),
    (Regression, ".csv", b"text,score\na,1.5\nb,-2e3\n"),
    (
        MultipleChoice,
        ".jsonl",
        b'{"question": "a", "choices": ["b", "c"], "label": "B"}\n' * 2,
    ),
    (Tagging, ".jsonl", b'{"tokens": ["a", "b"], "tags": ["O", "B"]}\n' * 2),
    (MLM, ".txt", "a b\r\n\nc\u2028 d\n".encode()),
    (MLM, ".jsonl", b'{"text": "a"}\n' * 2),
    (QA, ".jsonl", b'{"id": 1, "question": "a", "context": "b"}\n' * 2),
]


@pytest.mark.parametrize("count", COUNTS)
def test_tables(tmp_path: Path, count: int) -> None:
    def check(case: tuple[tuple[Any, str], bytes, bool]) -> None:
        (task, suffix), raw, strict = case
        path = tmp_path / f"data{suffix}"
        path.write_bytes(raw)
        check_data(path, task, strict=strict)

    tables = [st.tuples(st.just(table[:2]), damaged(table[2]), st.booleans()) for table in TABLES]
    run(count, st.one_of(tables), check)


# --- the span decoder --------------------------------------------------------------------------


@functools.cache
def decoder(longest: int) -> Any:
    return jax.jit(functools.partial(decode_spans, max_answer_length=longest, k=4))


@pytest.mark.parametrize("count", COUNTS)
def test_span_decoder(count: int) -> None:
    """Any floats, infinite ones and NaN too: no span is reversed, too long or masked."""
    length = 6
    floats = st.lists(st.floats(width=32), min_size=length, max_size=length)
    masks = st.lists(st.booleans(), min_size=length, max_size=length)

    def check(case: tuple[list[float], list[float], list[bool], int]) -> None:
        start, end, mask, longest = case
        found = decoder(longest)(np.float32(start), np.float32(end), np.array(mask))
        spans = [*zip(found.start.tolist(), found.end.tolist(), strict=True)]
        for i, j in spans:
            if i >= 0:
                assert i <= j < i + longest
                assert all(mask[i : j + 1])
            else:
                assert (i, j) == (-1, -1)
        real = [span for span in spans if span[0] >= 0]
        assert len(set(real)) == len(real)

    run(count, st.tuples(floats, floats, masks, st.sampled_from([1, 3, 30])), check)
