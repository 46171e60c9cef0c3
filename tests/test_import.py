"""What an import of jaxbert pulls in: PyTorch may be installed, and is never imported."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxbert

SCRIPT = """
import sys
import jaxbert

answerer = jaxbert.QuestionAnswerer.from_pretrained(sys.argv[1])
answer = answerer(question="Where is it?", context="It is in London.")
assert "It is in London."[answer["start"]:answer["end"]] == answer["answer"], answer
answerer.model.save(sys.argv[2])
print(*sorted({name.split(".")[0] for name in sys.modules} & {"torch", "tensorflow", "datasets"}))
"""


def test_every_name_of_the_package_is_there() -> None:
    for name in jaxbert.__all__:
        assert getattr(jaxbert, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = jaxbert.nonsense


def test_transformers_is_imported_in_one_place() -> None:
    """Which first silences what it says, at import, where PyTorch is missing."""
    package = Path(jaxbert.__file__).parent
    files = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^(?:from|import) transformers", path.read_text("utf-8"), re.MULTILINE)
    }
    assert files - {"benchmark/pytorch.py", "benchmark/pytorch_packed.py"} == {"model/tokenizer.py"}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_loading_encoding_predicting_and_saving_leave_torch_alone(
    tiny_folder: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_folder), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert (tmp_path / "tokenizer.json").is_file()
