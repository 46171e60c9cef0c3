"""The results as files: benchmark.json, benchmark.md, benchmark.png, report.html."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxbert.benchmark.machine import Machine
from jaxbert.benchmark.timing import Both, Timed
from jaxbert.io.drawing import new_figure, save_figure
from jaxbert.io.files import write_json, write_text
from jaxbert.report.records import Facts, Page, Range, Table
from jaxbert.runs.place import place_of
from jaxbert.runs.run_report import write_report as write_page


def write_report(folder: Path, machine: Machine, rows: Sequence[Timed], minutes: float) -> None:
    """Write all four; the picture only where matplotlib (extra `plot`) is installed.

    Args:
        minutes: the time that the rows took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **dataclasses.asdict(machine),
        "minutes": minutes,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_json(folder / "benchmark.json", content)
    write_text(folder / "benchmark.md", markdown(machine, rows, minutes))
    _draw(folder / "benchmark.png", machine, rows)
    write_page(place_of(folder), lambda: page(machine, rows, minutes))


def page(machine: Machine, rows: Sequence[Timed], minutes: float) -> Page:
    """The table as report.html: every ratio with its spread on one line, beside the mark at 1."""
    known = [(row.ratio, *(row.spread or ())) for row in rows if row.ratio is not None]
    most = 1.05 * max((value for of in known for value in of), default=1.0)
    shown = []
    for row in rows:
        band: str | Range = ""
        if row.ratio is not None:
            low, high = row.spread or (row.ratio, row.ratio)
            band = Range(0.0, max(most, 1.0), low, high, (row.ratio,), 1.0)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        values = (_number(row.jaxbert), _number(row.baseline))
        shown.append((row.name, band, ratio, row.unit, *values, "; ".join(_notes(row))))
    columns = ("row", "jaxbert / baseline", "ratio", "unit", "jaxbert", "baseline", "notes")
    note = "The dashed line is the baseline, PyTorch: beyond it jaxbert is faster, or takes less."
    about = {
        "cores": str(machine.cores),
        "devices": str(machine.devices),
        "platform": machine.platform,
        "PyTorch": machine.torch_device,
        "threads": ", ".join(f"{name} {count}" for name, count in machine.threads.items()),
        "peak": f"{machine.peak / 1e9:.0f} Gflop/s ({machine.peak_source})",
        "malloc": machine.malloc,
        **machine.flags,
    }
    return Page(
        title="Benchmark: jaxbert beside PyTorch",
        lead=f"{machine.device}, {machine.date}; the rows took {minutes} minutes.",
        headline={},
        tables=[Table(columns, shown, note=note)] if shown else [],
        facts=[Facts("Machine", about), Facts("Versions", machine.versions)],
        command=machine.command,
    )


def markdown(machine: Machine, rows: Sequence[Timed], minutes: float) -> str:
    """The table, under the machine that it was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines = [
        f"{machine.device}, {machine.cores} cores, {machine.date}; {versions}.",
        "",
        "```sh",
        machine.command,
        "```",
        "",
        f"Peak for the MFU: {machine.peak / 1e9:.0f} Gflop/s ({machine.peak_source}). "
        f"The rows took {minutes} minutes.",
        "",
        "| row | unit | jaxbert | baseline | ratio | spread | real tokens/s | MFU | compiling, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{row.spread[0]:.2f}-{row.spread[1]:.2f}" if row.spread else ""
        cells = [
            row.name,
            row.unit,
            _number(row.jaxbert),
            _number(row.baseline),
            "" if row.ratio is None else f"**{row.ratio:.2f}**",
            f"{spread} ({row.rounds})" if spread else "",
            _both(row.more.get("tokens_per_second"), "{:.0f}"),
            _both(row.more.get("mfu"), "{:.0%}"),
            _both(row.more.get("compile_seconds"), "{:.1f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines.extend(f"- {row.name}: {'; '.join(notes)}" for row in rows if (notes := _notes(row)))
    return "\n".join(lines).rstrip() + "\n"


def _notes(row: Timed) -> list[str]:
    """Notes on a row: its work, and the other ways in which the baseline was tried."""
    more = row.more
    notes: list[str] = []
    if "batch" in more:
        notes.append(f"batches of {more['batch']}")
    if "devices" in more:
        notes.append(f"on {more['devices']} devices")
    if more.get("attention", "xla") != "xla":
        notes.append(f"jaxbert's attention by {more['attention']}")
    if "row_lengths" in more:
        notes.append(f"padded to {' '.join(map(str, more['row_lengths']))}")
    if "examples_per_second" in more:
        notes.append(f"{_both(more['examples_per_second'], '{:.3g}')} examples/s")
    if "padding_of_epoch" in more:
        notes.append(f"{_both(more['padding_of_epoch'], '{:.1%}')} padding")
    if "joules" in more:
        notes.append(f"{_both(more['joules'], '{:.3g}')} joules")
    if "step_seconds" in more:
        notes.append(f"jaxbert takes {more['step_seconds']:.3g} s a step")
    if "one_device" in more:
        notes.append(f"one device {more['one_device']:.4g} {row.unit}")
    if batches := more.get("baseline_batches"):
        rates = ", ".join(f"{size} {rate:.3g}/s" for size, rate in batches.items())
        notes.append(f"batches tried with the baseline {rates}")
    if tried := more.get("baseline_tried"):
        ways = ", ".join(
            f"{way} {result}" if isinstance(result, str) else f"{way} {result:.3g} s"
            for way, result in tried.items()
        )
        notes.append(f"the baseline tried as {ways}")
    if fast := more.get("baseline_bfloat16"):
        low, high = fast["spread"]
        notes.append(
            f"the baseline in bfloat16 has {fast['value']:.4g} {row.unit}, "
            f"{fast['times_jaxbert']:.2f} ({low:.2f}-{high:.2f}) times jaxbert in "
            f"{more['precision']}"
        )
    return notes


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _both(values: Both | None, form: str) -> str:
    sides = ("jaxbert", "baseline")
    return " / ".join(form.format(values[side]) for side in sides) if values else ""


def _draw(path: Path, machine: Machine, rows: Sequence[Timed]) -> None:
    """The ratios as bars with their spread; the baseline is the line at 1."""
    shown = [row for row in rows if row.ratio is not None]
    figure = new_figure(path.name, 8, 1.2 + 0.32 * len(shown))
    if figure is None:
        return
    axes = figure.add_subplot()
    for y, row in enumerate(reversed(shown)):
        ratio = row.ratio or 0.0
        low, high = row.spread or (ratio, ratio)
        color = "#2a7f62" if ratio >= 1 else "#b5483a"
        axes.barh(y, ratio, xerr=[[ratio - low], [high - ratio]], color=color, capsize=2)
        axes.text(high, y, f"  {ratio:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [row.name for row in reversed(shown)], fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("jaxbert / PyTorch baseline: above 1 jaxbert is faster, or takes less")
    axes.set_title(f"{machine.device}, {machine.cores} cores, {machine.date}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    save_figure(figure, path)
