"""Draws the pictures of the site: `python docs/pictures.py runs/qa_demo`, after `jaxbert train qa`.

answers.png has what the demo's model answers about a paragraph that it has not seen, marked in the
text, and the loss of its training; windows.png the windows of a long paragraph, as
docs/three_questions.md has it.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from jaxbert import QuestionAnswerer
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import QAExample, read_qa
from jaxbert.demo import path_of
from jaxbert.metrics.answer_scores import squad_scores

HERE = Path(__file__).parent
COLOURS = ("#b7e4c7", "#a9d6f5", "#ffe08a", "#e3c6f5", "#ffc9b5", "#c9e4de")
WIDTH = 54  # characters of a line
SIZE = 9.5
DPI = 110  # of measuring and of drawing: the width of a letter is rounded to pixels


def lines_of(text: str) -> list[tuple[int, str]]:
    """Wrapped lines, each with where it begins in the text."""
    found, position = [], 0
    for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False):
        position = text.index(line, position)
        found.append((position, line))
        position += len(line)
    return found


def shortened(answer: str) -> str:
    """An answer as a line has room for it."""
    return textwrap.shorten(answer, 27, placeholder=" ...")


def draw_answers(axes: Axes, examples: list[QAExample], qa: QuestionAnswerer) -> None:
    """The paragraph of these questions with the answers marked, and the questions below it."""
    context = examples[0].context
    answers = [qa(question=e.question, context=e.context) for e in examples]
    lines = lines_of(context)
    rows = len(lines) + 1 + 2 * len(examples)
    axes.set(xlim=(0, WIDTH), ylim=(rows, -0.6))
    axes.axis("off")
    width = _advance(axes)
    for number, answer in enumerate(answers):
        for row, (first, line) in enumerate(lines):
            a, b = max(answer["start"], first), min(answer["end"], first + len(line))
            if a < b:
                before = [x["start"] for x in answers[:number]].count(answer["start"])
                corner = (a - first) * width - 0.15, row - 0.68 + 0.46 * before
                height = 0.92 - 0.46 * before  # of two equal answers each has half
                box = Rectangle(corner, (b - a) * width + 0.3, height, color=COLOURS[number], lw=0)
                axes.add_patch(box)
    for row, (_, line) in enumerate(lines):
        axes.text(0, row, line, family="DejaVu Sans Mono", size=SIZE, va="baseline")
    for number, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        row = len(lines) + 1 + 2 * number
        right = (
            squad_scores(
                {example.id: answer["answer"]}, [(example.id, [a.text for a in example.answers])]
            )["exact_match"]
            > 0
        )
        said = f"{shortened(answer['answer'])}  ({answer['score']:.0%})"
        if not right:
            said += f"   - right: {shortened(example.answers[0].text)}"
        axes.add_patch(Rectangle((0, row - 0.62), 1.4, 0.8, color=COLOURS[number], lw=0))
        axes.text(2.2, row, example.question, size=SIZE - 0.5, va="baseline", color="#444444")
        axes.text(2.2, row + 0.85, said, size=SIZE - 0.5, va="baseline", weight="bold")


def _advance(axes: Axes) -> float:
    """How wide a character of the paragraph is, in units of the axes."""
    pixels = []
    for count in (1, WIDTH + 1):  # what is around the ink of the outer two is in both
        text = axes.text(0, 0, "m" * count, family="DejaVu Sans Mono", size=SIZE)
        axes.figure.canvas.draw()
        pixels.append(text.get_window_extent().width)
        text.remove()
    x0, x1 = axes.transData.inverted().transform([(0, 0), (pixels[1] - pixels[0], 0)])[:, 0]
    return float(x1 - x0) / WIDTH


def draw_loss(axes: Axes, run: Path) -> None:
    """The loss of every step, and its mean over ten."""
    log = (run / "train_log.jsonl").read_text("utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in log]
    means = np.convolve(losses, np.ones(10) / 10, mode="valid")
    axes.plot(range(1, len(losses) + 1), losses, color="#0b6e4f", alpha=0.3, lw=1)
    axes.plot(range(10, len(losses) + 1), means, color="#0b6e4f", lw=2)
    axes.set(xlabel="step", ylabel="training loss", ylim=(0, None), xlim=(0, len(losses)))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def answers_picture(run: Path) -> Figure:
    """Answers beside the loss."""
    questions = read_qa([path_of("qa_en_dev.json")]).examples
    chosen = next(e.context for e in questions if "honeybee" in e.context)
    examples = [e for e in questions if e.context == chosen][: len(COLOURS)]
    figure = Figure(figsize=(10.4, 4.6), dpi=DPI)
    left, right = (
        figure.add_axes((0.015, 0.02, 0.5, 0.96)),
        figure.add_axes((0.6, 0.11, 0.385, 0.86)),
    )
    draw_loss(right, run)
    draw_answers(left, examples, QuestionAnswerer.from_pretrained(run))
    return figure


def windows_picture(run: Path) -> Figure:
    """A paragraph of eight of the demo's, and its windows of 384 tokens that share 128."""
    examples = read_qa([path_of("qa_en_dev.json")]).examples
    context = " ".join(list(dict.fromkeys(e.context for e in examples))[:8])
    example = QAExample("0", examples[4].question, context, examples[4].answers[:1])
    tokenizer = QuestionAnswerer.from_pretrained(run).model.tokenizer
    windows = encode_qa([example], tokenizer, max_length=384, stride=128)
    figure = Figure(figsize=(9, 2.5), layout="constrained")
    axes = figure.subplots()
    answer = example.answers[0]
    axes.add_patch(Rectangle((0, 0), len(context), 0.6, color="#dddddd", lw=0))
    axes.text(len(context) / 2, 0.3, "the paragraph", ha="center", va="center", size=9)
    for number in range(len(windows.lengths)):
        of = slice(windows.bounds[number], windows.bounds[number + 1])
        offsets = windows.host["offsets"][of][windows.tokens["context_mask"][of]]
        first, last, y = int(offsets[0, 0]), int(offsets[-1, 1]), 1.0 + 0.85 * number
        box = FancyBboxPatch((first - 190, y), 180, 0.6, "square,pad=0", fc=COLOURS[1], lw=0)
        axes.add_patch(box)
        axes.text(first - 100, y + 0.3, "question", ha="center", va="center", size=7.5)
        axes.add_patch(Rectangle((first, y), last - first, 0.6, color=COLOURS[0], lw=0))
        has_it = windows.rows["start_positions"][number] > 0
        label = "learns the answer's tokens" if has_it else "learns [CLS]: not here"
        axes.text((first + last) / 2, y + 0.3, label, ha="center", va="center", size=9)
    axes.axvspan(answer.start or 0, answer.end or 0, color="#d1495b", alpha=0.7, lw=0)
    axes.text((answer.end or 0) + 15, -0.22, "the answer", color="#d1495b", size=9, va="center")
    axes.set(xlim=(-210, len(context)), ylim=(1.1 + 0.85 * len(windows.lengths), -0.5))
    axes.axis("off")
    return figure


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/qa_demo")
    answers_picture(folder).savefig(HERE / "answers.png", dpi=DPI)
    windows_picture(folder).savefig(HERE / "windows.png", dpi=DPI)
