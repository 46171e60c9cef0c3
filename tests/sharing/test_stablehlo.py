"""Exported programs: those for the CPU run without jaxbert, those for others open."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import SMALL
from jax import export
from scripts import environment

from jaxbert.errors import InputError
from jaxbert.model.heads import HEADS, init_params, make_apply
from jaxbert.sharing.stablehlo import PLATFORMS, PROGRAM, export_model, flat, save_exported

# Runs a folder's program on two sizes of inputs, as its README.md says, in a process without
# jaxbert.
ALONE = """
import json, sys
sys.modules["jaxbert"] = None
import jax, numpy as np
from jax import export
from safetensors.numpy import load_file, save_file

program = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
model, weights = jax.jit(program.call), load_file("weights.safetensors")
for size in ("small", "large"):
    outputs = model(weights, load_file(f"{size}.safetensors"))
    save_file({n: np.asarray(x) for n, x in outputs.items()}, f"{size}_outputs.safetensors")
assert not [n for n in sys.modules if n.startswith("jaxbert.")]
"""


def inputs(head: str, rows: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    shape = (rows, length, 3) if head == "multiple_choice" else (rows, length)
    mask = np.ones(shape, np.int32)
    mask[-1, length // 2 :] = 0
    ids = rng.integers(0, SMALL.vocab_size, shape).astype(np.int32)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_exported_for_all_platforms_and_sizes(head: str) -> None:
    params = init_params(SMALL, head, jax.random.key(0))
    program = export.deserialize(export_model(SMALL, head, params, PLATFORMS).serialize())
    assert program.platforms == PLATFORMS
    assert "b" in str(program.out_avals[0].shape)
    apply = make_apply(SMALL, head)
    for rows, length in ((1, 3),):
        batch = inputs(head, rows, length)
        expected = apply(params, batch)
        for name, x in program.call(flat(params), batch).items():
            np.testing.assert_allclose(x, expected[name], rtol=0, atol=1e-5)


def test_a_model_that_weighs_windows_gives_their_scores(tmp_path: Path) -> None:
    cfg = dataclasses.replace(SMALL, id2label=("no", "yes"), window_attention=True)
    params = init_params(cfg, "classification", jax.random.key(0))
    folder = tmp_path / "exported"
    program = save_exported(folder, cfg, "classification", params, tmp_path, ["cpu"])
    batch = inputs("classification", 2, 5)
    found = program.call(flat(params), batch)
    expected = make_apply(cfg, "classification")(params, batch)
    for name in ("logits", "window_scores"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)
    assert "softmax of\ntheir `window_scores`" in (folder / "README.md").read_text()


@pytest.mark.integration
def test_the_program_runs_without_jaxbert(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    params = init_params(SMALL, "qa", jax.random.key(1))
    folder = tmp_path / "exported"
    save_exported(folder, SMALL, "qa", params, tmp_path, ["cpu"])
    sizes = {"small": inputs("qa", 1, 2), "large": inputs("qa", 7, 20)}
    for name, batch in sizes.items():
        save_file(batch, folder / f"{name}.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, batch in sizes.items():
        expected = make_apply(SMALL, "qa")(params, batch)
        found = load_file(folder / f"{name}_outputs.safetensors")
        assert found.keys() == {"start_logits", "end_logits"}
        for output, x in found.items():
            np.testing.assert_allclose(x, expected[output], rtol=0, atol=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_for_other_devices_open(platform: str, tmp_path: Path) -> None:
    params = init_params(SMALL, "tagging", jax.random.key(0))
    save_exported(tmp_path / "new", SMALL, "tagging", params, tmp_path, [platform])
    program = export.deserialize(bytearray((tmp_path / "new" / PROGRAM).read_bytes()))
    assert program.platforms == (platform,)
    text = program.mlir_module()
    assert "stablehlo.dot_general" in text
    assert "custom_call" not in text or "shape_assertion" in text  # no kernel of one device
    assert {x.dtype for x in program.out_avals} == {np.dtype("float32")}
    with pytest.raises(ValueError, match=platform):  # it says what it is for
        program.call(flat(params), inputs("tagging", 1, 3))
    readme = (tmp_path / "new" / "README.md").read_text()
    assert json.dumps(SMALL.id2label) in readme
    assert "`logits`: (B, T, 3)" in readme


def test_longer_rows_than_the_model_has_places_for_are_refused() -> None:
    params = init_params(SMALL, "qa", jax.random.key(0))
    program = export_model(SMALL, "qa", params, ["cpu"])
    with pytest.raises(ValueError, match="t <= 20"):
        program.call(flat(params), inputs("qa", 1, 21))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    params = init_params(SMALL, "qa", jax.random.key(0))
    with pytest.raises(InputError, match="give a new folder"):
        save_exported(tmp_path, SMALL, "qa", params, tmp_path, ["cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
