"""Time what grows with a run, for docs/growth.md. Not a test:

python tests/runs/time_growth.py order 1000000
python tests/runs/time_growth.py packed 1000000
python tests/runs/time_growth.py save bert-base FOLDER
python tests/runs/time_growth.py start SQUAD.json 1000000 FOLDER
python tests/runs/time_growth.py hosts SQUAD.json 100000 FOLDER
python tests/runs/time_growth.py evaluation qa 1000000 FOLDER
python tests/runs/time_growth.py score qa 200000 FOLDER
python tests/runs/time_growth.py memory 200 FOLDER

The last three start jaxbert as a user does, with a tiny model, and watch the memory of all of its
processes.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from watched_memory import Sample, Watched, watched

from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.io.files import write_json
from jaxbert.model.config import SIZES, BertConfig
from jaxbert.model.heads import init_params
from jaxbert.model.pretrained import save_pretrained
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import TrainState, init_state
from jaxbert.training.step_folders import LocalSteps

TINY = BertConfig(
    hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512
)
BUCKETS = bucket_lengths(64, 384)


def seconds(work: Callable[[], object], times: int = 3) -> str:
    """The median, and the least and the most."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return f"{statistics.median(found):.3g} s ({min(found):.3g} to {max(found):.3g})"


def peak() -> float:
    """GiB that the process has had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def order(windows: int, packed: bool) -> None:
    """The order of an epoch's batches, which the first step of each epoch waits for."""
    lengths = np.clip(np.random.default_rng(0).normal(160, 60, windows), 20, 384).astype(np.int64)
    before, number = peak(), iter(range(100))
    if packed:
        began = time.perf_counter()
        sampler: BucketSampler | PackedSampler = PackedSampler(lengths, 32, 0, 384)
        steps = sampler.steps_per_epoch
        print(f"which lengths share a row, once a run: {time.perf_counter() - began:.3g} s")
    else:
        sampler = BucketSampler(lengths, 32, 0, BUCKETS)
        steps = sampler.steps_per_epoch
    print(f"{windows} windows: the order of an epoch")
    print(f"  {seconds(lambda: sampler.batch(next(number) * steps))}; any later step of it")
    print(f"  {seconds(lambda: [sampler.batch(1) for _ in range(1000)])} for a thousand")
    print(f"  {peak() - before:.2f} GiB more memory, with the order of two epochs")


def save(size: str, place: str) -> None:
    """A checkpoint: what training waits for, what its thread does, and how it is read."""
    cfg = TINY if size == "tiny" else SIZES[size]
    params = init_params(cfg, "qa", jax.random.key(0))
    tx = adamw(make_schedule(1e-5, steps=1))
    rng = np.random.default_rng(0)  # zeros would be compressed

    def filled(x: jax.Array) -> np.ndarray:
        return rng.standard_normal(x.shape, np.float32) if x.dtype == np.float32 else np.asarray(x)

    state: TrainState = jax.tree.map(filled, jax.device_get(init_state(params, tx)))
    size_of_state = sum(x.nbytes for x in jax.tree.leaves(state))
    folder = Path(place, "steps")
    checkpoints = Checkpoints(LocalSteps(folder))
    numbers = iter(range(1, 100))
    before = peak()

    def write() -> None:
        step = np.int32(next(numbers))
        checkpoints.save(state._replace(step=step), {})
        checkpoints.wait()

    print(f"{size}: {size_of_state / 2**30:.3g} GiB of parameters and optimizer")
    print(f"  written and sealed in {seconds(write)}; {peak() - before:.2f} GiB more memory")
    print(f"  verified in {seconds(checkpoints.newest)}")
    newest = checkpoints.newest()
    print(f"  read in {seconds(lambda: checkpoints.restore(newest, state))}")
    checkpoints.close()
    shutil.rmtree(folder)


def questions(source: Path, count: int) -> Iterator[str]:
    """Nested JSON with `count` questions, each with an id, text and paragraph of its own."""
    paragraphs = [p for a in json.loads(source.read_text())["data"] for p in a["paragraphs"]]
    made = 0
    yield '{"version": "1.1", "data": ['
    for copy in itertools.count():
        for paragraph in paragraphs:
            qas = [
                {**qa, "id": str(made + n), "question": f"{copy}: {qa['question']}"}
                for n, qa in enumerate(paragraph["qas"][: count - made])
            ]
            made += len(qas)
            context = f"{paragraph['context']} Part {copy}."
            yield json.dumps({"paragraphs": [{"context": context, "qas": qas}]})
            if made == count:
                yield "]}"
                return
            yield ", "


def data_of(source: Path, count: int, folder: Path) -> Path:
    """The file of that number of questions."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{count}.json"
    if not data.exists():
        with data.open("w") as file:
            file.writelines(questions(source, count))
    print(f"{data.stat().st_size / 2**20:.0f} MiB of JSON", flush=True)
    time.sleep(3)  # a file of this moment is not known again
    return data


def start(source: Path, count: int, folder: Path) -> None:
    """The first and the second start of a run on questions, up to their features."""
    data = data_of(source, count, folder)
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, __file__, "ready", data, folder / "cache"], check=True)
        print(f"  the process: {time.perf_counter() - began:.2f} s", flush=True)


def hosts(source: Path, count: int, folder: Path) -> None:
    """Two processes of one run, each on a core of its own, up to their features: with nothing
    shared, as processes of one host, and as two hosts that see one folder."""
    data = data_of(source, count, folder)
    for name, cache, machines in (
        ("without --cache_dir", "", ("one", "one")),
        ("--cache_dir, one host", str(folder / "one"), ("one", "one")),
        ("--cache_dir, two hosts", str(folder / "two"), ("one", "two")),
        ("the same, second start", str(folder / "two"), ("one", "two")),
    ):
        print(name, flush=True)
        found = watched([sys.executable, __file__, "both", str(data), cache, *machines], 0.25)
        print("\n".join(line for line in found.lines if "ready" in line))
        print(f"  all processes: {most(found)}", flush=True)


def both(data: str, cache: str, *machines: str) -> None:
    """What `hosts` starts: the processes of a run."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    children = []
    for rank, machine in enumerate(machines):
        words = [sys.executable, __file__, "member", data, cache, address, str(rank), machine]
        children.append(subprocess.Popen(words, env={**os.environ, "JAX_PLATFORMS": "cpu"}))
    for child in children:
        child.wait()


def member(data: str, cache: str, address: str, rank: str, machine: str) -> None:
    """One of them."""
    from jaxbert.runtime import processes

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(rank) % len(cores)]})
    processes.host_name = lambda: machine
    processes.join(address, 2, int(rank))
    ready(data, cache)


def ready(data: str, cache: str) -> None:
    """What `start` starts: from the imports to the features."""
    # Here, for they are a part of what is timed.
    from jaxbert.data.features import Features
    from jaxbert.options.task_settings import QATrainOptions
    from jaxbert.runs.encoding import encode_to_learn
    from jaxbert.runs.inputs import load_model
    from jaxbert.runs.training_inputs import PythonInputs, read_data
    from jaxbert.tasks.qa import QA

    options = QATrainOptions(
        model_name_or_path="minilm-l6", train_file=[data], cache_dir=cache or None
    )
    read = read_data(QA(options.part(QA.settings_cls)), PythonInputs(), **options.data())
    model = load_model(read.task, options, read.data)
    features: Features = encode_to_learn(
        read.task, read.data.examples, model.tokenizer, model.cfg, data, **options.encoding()
    )
    features.fingerprint()
    elapsed = time.clock_gettime(time.CLOCK_BOOTTIME) - _started()
    counts = f"{len(read.data.examples):,} questions, {len(features):,} windows"
    print(f"  {counts}, {features.bounds[-1]:,} tokens")
    print(
        f"  ready after {elapsed:.2f} s, {time.process_time():.2f} s of the processors; "
        f"{peak():.2f} GiB at its most"
    )


# --- memory of a command ----------------------------------------------------------------------

WORDS = [f"{a}{b}{c}" for a in "bdfglmnprstv" for b in "aeiou" for c in "lmnrstx"]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def tiny_folder(folder: Path, head: str, labels: tuple[str, ...] = ()) -> Path:
    """A model whose vocabulary are WORDS, and which takes no time."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    cfg = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=32,
        id2label=labels,
        initializer_range=0.5,
    )
    save_pretrained(folder, cfg, init_params(cfg, head, jax.random.key(0)), None, head=head)
    return folder


def question(rng: random.Random, number: int) -> dict[str, Any]:
    words = rng.choices(WORDS, k=40)
    text = " ".join(words)
    answer = " ".join(words[7:9])
    return {
        "id": f"question {number}",
        "question": " ".join(rng.choices(WORDS, k=8)),
        "context": text,
        "answers": {"text": [answer], "answer_start": [text.index(answer)]},
    }


def text(rng: random.Random, number: int) -> dict[str, Any]:
    return {"text": " ".join(rng.choices(WORDS, k=40)), "label": rng.choice(("no", "yes"))}


def sentence(rng: random.Random, number: int) -> dict[str, Any]:
    return {"tokens": rng.choices(WORDS, k=40), "tags": rng.choices(TAGS, k=40)}


# Task -> the model's classes, and an example.
EVALUATED = {
    "qa": ((), question),  # each of one window
    "classification": (("no", "yes"), text),
    "tagging": (TAGS, sentence),
}


def evaluation(task: str, count: int, folder: Path) -> None:
    """An evaluation of `count` rows, started twice; the second start tokenizes nothing."""
    labels, made = EVALUATED[task]
    model = tiny_folder(folder / task, task, labels)
    data, rng = folder / f"{task}-{count}.jsonl", random.Random(0)
    if not data.exists():
        with data.open("w") as file:
            file.writelines(json.dumps(made(rng, n)) + "\n" for n in range(count))
    time.sleep(3)  # a file of this moment is not known again
    command = [
        *(sys.executable, "-m", "jaxbert", "eval", task, "--model_name_or_path", str(model)),
        *("--validation_file", str(data), "--output_dir", str(folder / "scores")),
        *("--cache_dir", str(folder / "cache"), "--max_seq_length", "64"),
        *("--per_device_eval_batch_size", "64"),
        *(("--doc_stride", "16") if task == "qa" else ()),
    ]
    print(f"{count:,} rows of {task}", flush=True)
    for which in ("first start", "second start"):
        print(f"  {which}: {most(watched(command))}", flush=True)
    for path in sorted((folder / "scores").iterdir()):
        print(f"  {path.name}: {path.stat().st_size / 2**20:.1f} MiB")


def predicted(task: str, rng: random.Random, row: dict[str, Any]) -> Any:
    """An entry of a predictions.json, as evaluations write it."""
    if task == "qa":
        return row["answers"]["text"][0]
    if task == "tagging":
        scores = [round(rng.random(), 6) for _ in row["tags"]]
        return {"words": row["tokens"], "tags": rng.choices(TAGS, k=40), "scores": scores}
    chance = rng.random()
    label = rng.choice(("no", "yes"))
    return {"label": label, "scores": {"no": chance, "yes": 1 - chance}}


def score(task: str, count: int, folder: Path) -> None:
    """`jaxbert score` of a predictions file of `count` rows, and the intervals of `compare` between
    two; answers are in another order than their questions."""
    labels, made = EVALUATED[task]
    tiny_folder(folder, task, labels)
    data, rng = folder / f"{task}-{count}.json", random.Random(0)
    path = folder / "predictions.json"
    rows = [made(rng, n) for n in range(count)]
    data.write_text(json.dumps({"data": rows}))
    entries: Any = [predicted(task, rng, row) for row in rows]
    if task == "qa":
        named = [(row["id"], entry) for row, entry in zip(rows, entries, strict=True)]
        rng.shuffle(named)
        entries = dict(named)
    write_json(path, entries)
    print(f"{count:,} rows of {task}, {data.stat().st_size / 2**20:.0f} MiB", end=", ")
    print(f"predictions {path.stat().st_size / 2**20:.0f} MiB", flush=True)
    del rows, entries
    metric = ("--metric", "squad" if task == "qa" else task)
    files = ("--references", str(data), "--predictions", str(path))
    for name, command in {
        "score": [sys.executable, "-m", "jaxbert", "score", *metric, *files],
        "intervals": [sys.executable, __file__, "intervals", task, str(data), str(folder)],
    }.items():
        found = watched(command, 0.05)
        print(f"  {name}: {most(found)}\n    {found.lines[-1][:150]}", flush=True)


def intervals(task: str, data: str, folder: str) -> None:
    """What `score` starts: those that `jaxbert compare` has of two runs, here the same one."""
    from jaxbert.options.source_settings import Source
    from jaxbert.runs.compared_examples import intervals_of
    from jaxbert.tasks.registry import TASKS

    cls = TASKS[task]
    source = Source(False, [data], None, None, None, None)
    runs = {"one": [Path(folder)], "other": [Path(folder)]}
    print(intervals_of(cls(cls.settings_cls()), source, runs))


def most(found: Watched) -> str:
    """The seconds, and the most memory."""
    processor, samples, _ = found
    whole, own = (max(column) / 2**30 for column in list(zip(*samples, strict=True))[1:3])
    seconds = samples[-1].seconds
    took = f"{seconds:.0f} s, {processor:.0f} s of the processors"
    return f"{took}; {whole:.2f} GiB at its most, {own:.2f} GiB without files"


def memory(megabytes: int, folder: Path) -> None:
    """Masked LM on a text: tokenizing, training, predictions; the memory of all processes."""
    model = tiny_folder(folder / "mlm", "mlm")
    data, rng = folder / f"{megabytes}.txt", random.Random(0)
    if not data.exists():
        lines = [" ".join(rng.choices(WORDS, k=40)) + "\n" for _ in range(10_000)]
        with data.open("w") as file:
            while file.tell() < megabytes * 1_000_000:
                file.writelines(rng.sample(lines, 1000))
    fixed = ["--model_name_or_path", str(model), "--max_seq_length", "512"]
    workers = ["--preprocessing_num_workers", str(os.cpu_count())]
    training = [
        *(sys.executable, "-m", "jaxbert", "train", "mlm", "--train_file", str(data), *fixed),
        *("--output_dir", str(folder / f"run-{megabytes}"), "--overwrite_output_dir", *workers),
        *("--per_device_train_batch_size", "32", "--max_steps", "100", "--save_steps", "50"),
    ]
    print(f"{data.stat().st_size / 1e6:.0f} MB of text", flush=True)
    tokenizing, trained = watched(training).parted("steps of")
    _curve("tokenizing", tokenizing)
    _curve("training", trained)
    predicting = [
        *(sys.executable, "-m", "jaxbert", "eval", "mlm", "--validation_file", str(data), *fixed),
        *("--output_dir", str(folder / "scores"), "--per_device_eval_batch_size", "32", *workers),
    ]
    again, predictions = watched(predicting).parted("attention by")
    _curve("tokenizing again", again)
    _curve("predictions", predictions)


def _curve(name: str, part: list[Sample]) -> None:
    tenths = [part[len(part) * n // 10 : len(part) * (n + 1) // 10] for n in range(10)]
    curve = [f"{max(s.whole for s in tenth) / 2**30:.2f}" for tenth in tenths if tenth]
    seconds = part[-1].seconds - part[0].seconds
    own = max(s.own for s in part) / 2**30
    print(f"  {name}, {seconds:.0f} s: GiB in each tenth of it {' '.join(curve)}", end="; ")
    print(f"without files {own:.2f} at its most", flush=True)


def _started() -> float:
    """When this process began, in seconds since the machine did."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return int(ticks) / 100


def main() -> None:
    what, first, *more = sys.argv[1:]
    if what in ("order", "packed"):
        order(int(first), what == "packed")
    elif what == "start":
        start(Path(first), int(more[0]), Path(more[1]))
    elif what == "score":
        score(first, int(more[0]), Path(more[1]))
    elif what == "intervals":
        intervals(first, *more)
    elif what == "hosts":
        hosts(Path(first), int(more[0]), Path(more[1]))
    elif what == "both":
        both(first, *more)
    elif what == "member":
        member(first, *more)
    elif what == "evaluation":
        evaluation(first, int(more[0]), Path(more[1]))
    elif what == "memory":
        memory(int(first), Path(more[0]))
    elif what == "ready":
        ready(first, more[0])
    else:
        save(first, more[0])


if __name__ == "__main__":
    main()
