"""Full fine-tuning, layer-wise rates and LoRA over three seeds, and peft's LoRA in PyTorch, for
docs/results.md. Not a test:

python tests/training/compare_adapters.py sst2_train.tsv sst2_dev.tsv FOLDER
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

import jaxbert
from jaxbert.data.parts import part_of
from jaxbert.model.folders import find_model_folder

FRACTION, BATCH, EPOCHS, LENGTH, SEEDS = 0.1, 16, 3, 64, (0, 1, 2)
RANK, ALPHA, TARGETS = 8, 16, ["query", "value"]
WAYS: dict[str, dict[str, Any]] = {
    "all parameters": {"learning_rate": 1e-4},
    "all, `--layerwise_lr_decay 0.8`": {"learning_rate": 1e-4, "layerwise_lr_decay": 0.8},
    "LoRA": {
        "learning_rate": 1e-3,
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "lora_targets": TARGETS,
    },
}


def of_jaxbert(train: str, dev: str, folder: Path, seed: int, way: dict[str, Any]) -> float:
    """The accuracy of a run."""
    jaxbert.train(
        "classification",
        model="minilm-l6",
        train_data=train,
        validation_data=dev,
        output_dir=folder,
        train_fraction=FRACTION,
        max_seq_length=LENGTH,
        per_device_train_batch_size=BATCH,
        num_train_epochs=float(EPOCHS),
        warmup_ratio=0.1,
        weight_decay=0.01,
        save_steps=10_000,
        report_to=["none"],
        overwrite_output_dir=True,
        seed=seed,
        **way,
    )
    found: float = json.loads((folder / "metrics.json").read_text())["accuracy"]
    return found


def table(path: str) -> tuple[list[str], list[int]]:
    """Texts and labels."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["sentence"] for row in rows], [int(row["label"]) for row in rows]


def of_peft(train: str, dev: str, seed: int) -> float:
    """The accuracy of peft's LoRA: the same rows, batch, rank, alpha, schedule and AdamW."""
    transformers.set_seed(seed)
    folder = find_model_folder("minilm-l6")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, modules_to_save=["pooler", "classifier"]
    )
    model = peft.get_peft_model(base, config)
    named = [(n, x) for n, x in model.named_parameters() if x.requires_grad]
    decayed = [x for n, x in named if not n.endswith("bias")]
    others = [x for n, x in named if n.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    texts, labels = table(train)
    part = part_of(len(texts), FRACTION, seed)
    steps = EPOCHS * -(-len(part) // BATCH)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    rng = np.random.default_rng(seed)

    def tokens(part: list[str]) -> Any:
        return tokenizer(
            part, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
        )

    model.train()
    for _ in range(EPOCHS):
        order = rng.permutation(part)
        for at in range(0, len(order), BATCH):
            rows = order[at : at + BATCH]
            wanted = torch.tensor([labels[row] for row in rows])
            loss = model(**tokens([texts[row] for row in rows]), labels=wanted).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([x for _, x in named], 1.0)
            optimizer.step()
            schedule.step()
    model.eval()
    texts, labels = table(dev)
    right = 0
    with torch.no_grad():
        for at in range(0, len(texts), 64):
            found = model(**tokens(texts[at : at + 64])).logits.argmax(-1)
            right += int((found.numpy() == np.array(labels[at : at + 64])).sum())
    return right / len(texts)


def main() -> None:
    train, dev, folder = sys.argv[1:]
    print("| | accuracy, mean | lowest and highest of three seeds |\n|---|---|---|", flush=True)
    for name, way in WAYS.items():
        scores = [of_jaxbert(train, dev, Path(folder, f"{seed}"), seed, way) for seed in SEEDS]
        show(name, scores)
    show("LoRA by peft, PyTorch", [of_peft(train, dev, seed) for seed in SEEDS])


def show(name: str, scores: list[float]) -> None:
    mean, low, high = (100 * x for x in (statistics.mean(scores), min(scores), max(scores)))
    print(f"| {name} | {mean:.1f} | {low:.1f} to {high:.1f} |", flush=True)


if __name__ == "__main__":
    main()
