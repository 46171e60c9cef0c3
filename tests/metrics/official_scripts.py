"""The official scorers' algorithms on a parsed data set, written down again for the tests.

After evaluate-v1.1.py, evaluate-v2.0.py and cmrc2018_evaluate.py (its longest common run by
brute force, and without nltk: texts with nothing but Chinese and single words).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Any

Questions = list[dict[str, Any]]


def questions_of(dataset: dict[str, Any]) -> Questions:
    return [qa for a in dataset["data"] for p in a["paragraphs"] for qa in p["qas"]]


def normal(text: str) -> str:
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1_of(prediction: list[str], gold: list[str]) -> float:
    same = sum((Counter(prediction) & Counter(gold)).values())
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(prediction), 1.0 * same / len(gold)
    return (2 * precision * recall) / (precision + recall)


def squad(dataset: dict[str, Any], predictions: dict[str, str]) -> dict[str, float]:
    exact = f1 = total = 0.0
    for qa in questions_of(dataset):
        total += 1
        if qa["id"] not in predictions:
            continue
        prediction = predictions[qa["id"]]
        golds = [answer["text"] for answer in qa["answers"]]
        exact += max(normal(prediction) == normal(gold) for gold in golds)
        f1 += max(f1_of(normal(prediction).split(), normal(gold).split()) for gold in golds)
    return {"exact_match": 100.0 * exact / total, "f1": 100.0 * f1 / total, "total": total}


def squad_v2(dataset: dict[str, Any], predictions: dict[str, str]) -> dict[str, float]:
    has: dict[str, bool] = {}
    exact: dict[str, float] = {}
    f1: dict[str, float] = {}
    for qa in questions_of(dataset):
        name, prediction = qa["id"], predictions[qa["id"]]
        has[name] = bool(qa["answers"])
        golds = [a["text"] for a in qa["answers"] if normal(a["text"])] or [""]
        exact[name] = max(int(normal(prediction) == normal(gold)) for gold in golds)
        pairs = [(normal(prediction).split(), normal(gold).split()) for gold in golds]
        f1[name] = max(int(a == b) if not a or not b else f1_of(a, b) for a, b in pairs)
    scores: dict[str, float] = {}
    for prefix, names in {
        "": list(has),
        "HasAns_": [name for name in has if has[name]],
        "NoAns_": [name for name in has if not has[name]],
    }.items():
        if names:
            scores[f"{prefix}exact"] = 100.0 * sum(exact[n] for n in names) / len(names)
            scores[f"{prefix}f1"] = 100.0 * sum(f1[n] for n in names) / len(names)
            scores[f"{prefix}total"] = len(names)
    return scores


_DROPPED = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def _clean(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _DROPPED)


def _segments(text: str) -> list[str]:
    return list(re.findall("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5 ]+", _clean(text)))


def cmrc2018(dataset: dict[str, Any], predictions: dict[str, str]) -> dict[str, float]:
    f1 = exact = 0.0
    total = skip = 0
    for qa in questions_of(dataset):
        total += 1
        name = qa["id"].strip()
        if name not in predictions:
            skip += 1
            continue
        best, prediction = [], _segments(str(predictions[name]))
        for answer in qa["answers"]:
            gold = _segments(answer["text"])
            runs = [
                j - i
                for i in range(len(gold))
                for j in range(i + 1, len(gold) + 1)
                for k in range(len(prediction))
                if prediction[k : k + j - i] == gold[i:j]
            ]
            longest = max(runs, default=0)
            if longest == 0:
                best.append(0.0)
                continue
            precision, recall = 1.0 * longest / len(prediction), 1.0 * longest / len(gold)
            best.append((2 * precision * recall) / (precision + recall))
        f1 += max(best)
        texts = [_clean(answer["text"]) for answer in qa["answers"]]
        exact += _clean(str(predictions[name])) in texts
    f1, exact = 100.0 * f1 / total, 100.0 * exact / total
    average = (exact + f1) * 0.5
    return {"exact_match": exact, "f1": f1, "average": average, "total": total, "skip": skip}
