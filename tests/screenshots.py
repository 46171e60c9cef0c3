"""Photographs what people see, in light, in the dark, and as a phone has it.

python tests/screenshots.py build/screenshots runs/qa_demo runs/tagging_demo

Of each run its report, and the page to ask in of all of them; of the site the first page, where it
has been built (build/site). The four that docs/ has go there too: report.png, report_dark.png,
serve_qa.png and serve_dark.png.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from chromium import chromium
from conftest import REPOSITORY

sys.path.insert(0, str(Path(__file__).parent / "serve"))

from serving import server

from jaxbert.runs.record import RunRecord

DOCS = REPOSITORY / "docs"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1100, "height": 1300}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1100, "height": 1300}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}
# What docs/ has: the picture that is taken, and its name there.
SHOWN = {
    "report_qa_light": "report",
    "report_tagging_dark_found": "report_dark",
    "ask_qa_light": "serve_qa",
    "ask_qa_phone": "serve_dark",
}


def take(page: Any, folder: Path, name: str, *, whole: bool = False) -> None:
    path = folder / f"{name}.png"
    page.wait_for_timeout(500)  # what moves has come to rest
    page.screenshot(path=str(path), full_page=whole)
    if name in SHOWN:
        shutil.copy(path, DOCS / f"{SHOWN[name]}.png")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {run: RunRecord.read(run).task for run in arguments.runs}
    asked = [str(run) for run, task in tasks.items() if task != "multiple_choice"]
    with chromium() as browser, server(*asked, "--max_batch", "1") as made:
        for look, options in LOOKS.items():
            page = browser.new_page(**options, reduced_motion="reduce")
            for run, task in tasks.items():
                page.goto((run.resolve() / "report.html").as_uri())
                page.wait_for_selector("#list > li")
                take(page, folder, f"report_{task}_{look}")
                page.evaluate("document.getElementById('found').scrollIntoView()")
                take(page, folder, f"report_{task}_{look}_found")
                if str(run) in asked:
                    page.set_viewport_size({**options["viewport"], "height": 600})
                    page.goto(f"{made.url}?task={task}")
                    page.wait_for_function("!document.querySelector('.ask').disabled")
                    page.get_by_role("button", name="English").click()
                    page.wait_for_selector(".card")
                    take(page, folder, f"ask_{task}_{look}", whole=True)
                    page.set_viewport_size(options["viewport"])
            site = REPOSITORY / "build" / "site" / "index.html"
            if site.exists():
                page.goto(site.as_uri())
                take(page, folder, f"site_{look}")
            page.close()


if __name__ == "__main__":
    main()
