"""Checkpoints: what is saved comes back bit for bit, and damage is noticed before it is used."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbert.errors import InputError
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import TrainState, init_state
from jaxbert.training.step_folders import LocalSteps, fault, seal

pytestmark = pytest.mark.integration


def state_at(step: int, seed: int = 0, *, frozen: tuple[str, ...] = ()) -> TrainState:
    rng = np.random.default_rng([seed, step])
    params = {
        "bert": {"mlp_in": {"kernel": rng.standard_normal((5, 7)).astype(np.float32)}},
        "qa_outputs": {"bias": rng.standard_normal(3).astype(np.float32)},
    }
    tx = adamw(make_schedule(1e-3, steps=10), weight_decay=0.01, frozen=frozen)
    state = init_state(params, tx)
    grads = jax.tree.map(lambda x: jnp.asarray(np.cos(x)), params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    state = TrainState(jnp.int32(step), optax.apply_updates(state.params, updates), opt_state)
    return jax.tree.map(np.array, state)


def assert_equal(a: TrainState, b: TrainState) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the steps 1 and 2; copy it before harming it."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(LocalSteps(folder))
    for step in (1, 2):
        checkpoints.save(state_at(step), {"waited": step})
    checkpoints.close()
    return folder


@pytest.mark.parametrize("frozen", [(), ("bert",)])
def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path, frozen: tuple[str, ...]) -> None:
    saved = state_at(3, frozen=frozen)
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved, {"best_score": 0.1 + 0.2})
    checkpoints.close()
    again = Checkpoints(LocalSteps(tmp_path))
    assert again.newest() == 3
    state, progress = again.restore(3, state_at(0, frozen=frozen))
    again.close()
    assert_equal(state, saved)
    assert progress == {"best_score": 0.1 + 0.2}


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(LocalSteps(tmp_path), keep=2)
    for step in range(1, 7):
        checkpoints.save(state_at(step), {}, best_step=2 if step >= 2 else None)
    checkpoints.close()
    assert checkpoints.steps() == [2, 5, 6]
    assert all(fault(tmp_path / str(s)) is None for s in (2, 5, 6))


def test_a_save_does_not_see_later_changes(tmp_path: Path) -> None:
    # As a donated buffer would be: the arrays are overwritten while Orbax may still be writing.
    saved = state_at(1)
    kept = jax.tree.map(np.array, saved)
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved, {})
    checkpoints.wait()
    for leaf in jax.tree.leaves(saved.params):
        leaf[...] = np.nan
    state, _ = checkpoints.restore(1, kept)
    checkpoints.close()
    assert_equal(state, kept)


def test_a_step_is_sealed_without_another_call(tmp_path: Path) -> None:
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(state_at(1), {})
    until = time.monotonic() + 60
    while fault(tmp_path / "1") is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert fault(tmp_path / "1") is None
    checkpoints.close()


@pytest.mark.parametrize("flips", [200, pytest.param(2000, marks=pytest.mark.nightly)])
def test_every_single_bit_flip_is_noticed_and_the_older_step_used(
    two_steps: Path, tmp_path: Path, flips: int
) -> None:
    rng = np.random.default_rng(flips)
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    files = [p for p in (folder / "2").rglob("*") if p.is_file() and p.stat().st_size]
    said: list[str] = []
    checkpoints = Checkpoints(LocalSteps(folder), say=said.append)
    for _ in range(flips):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        assert checkpoints.newest() == 1, path
        path.write_bytes(whole)
    assert len(said) == flips  # each is told
    assert checkpoints.newest() == 2
    checkpoints.close()


@pytest.mark.parametrize("harm", ["truncate", "delete", "empty"])
def test_harm_to_any_file_falls_back_to_the_older_step(
    two_steps: Path, tmp_path: Path, harm: str
) -> None:
    names = [p.relative_to(two_steps) for p in (two_steps / "2").rglob("*") if p.is_file()]
    assert len(names) > 4
    said: list[str] = []
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(two_steps, folder)
        path = folder / name
        if harm == "delete":
            path.unlink()
        else:
            path.write_bytes(b"" if harm == "empty" else path.read_bytes()[:-1])
        checkpoints = Checkpoints(LocalSteps(folder), say=said.append)
        assert checkpoints.newest() == 1, name
        checkpoints.close()
    assert any("checkpoint 2 passed over" in line for line in said)


def test_where_all_are_damaged_nothing_starts_over(two_steps: Path, tmp_path: Path) -> None:
    """They may come back, as when a file system answers again; a new start would remove them."""
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    for step in ("1", "2"):
        (folder / step / "progress.json").write_text("{}")
    checkpoints = Checkpoints(LocalSteps(folder), say=lambda line: None)
    with pytest.raises(InputError, match="no checkpoint verifies, and 2 had been whole; bring one"):
        checkpoints.newest()
    checkpoints.close()


def test_stray_files_and_folders_do_no_harm(two_steps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    (folder / "2" / "stray").write_bytes(b"?")
    (folder / "2" / "state" / "stray").mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "99").mkdir()  # an empty directory named as the newest step
    said: list[str] = []
    checkpoints = Checkpoints(LocalSteps(folder), say=said.append)
    assert checkpoints.newest() == 2
    state, _ = checkpoints.restore(2, state_at(0))
    checkpoints.save(state_at(3), {})
    checkpoints.close()
    assert_equal(state, state_at(2))
    assert said == ["checkpoint 99 passed over: unfinished: it has no manifest"]
    assert (folder / "notes.txt").exists()


def test_an_unfinished_step_of_the_same_number_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "1" / "state").mkdir(parents=True)
    (tmp_path / "1" / "state" / "half").write_bytes(b"half")
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    assert checkpoints.newest() is None
    checkpoints.save(state_at(1), {})
    checkpoints.close()
    assert fault(tmp_path / "1") is None
    assert not (tmp_path / "1" / "state" / "half").exists()


def test_another_model_is_refused_in_one_line(two_steps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    checkpoints = Checkpoints(LocalSteps(folder))
    wider = state_at(0)
    wider.params["bert"]["mlp_in"]["kernel"] = np.zeros((5, 8), np.float32)
    fewer = state_at(0)
    del fewer.params["qa_outputs"]
    for like in (wider, fewer):
        with pytest.raises(InputError, match="not those of this model") as error:
            checkpoints.restore(2, like)
        assert "\n" not in str(error.value)
    checkpoints.close()


def test_restore_refuses_what_does_not_verify(two_steps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(two_steps, folder)
    manifest = folder / "2" / "manifest.json"
    entries = json.loads(manifest.read_text())
    entries["progress.json"][1] = "0" * 64
    manifest.write_text(json.dumps(entries))
    checkpoints = Checkpoints(LocalSteps(folder))
    with pytest.raises(InputError, match=r"progress\.json is damaged"):
        checkpoints.restore(2, state_at(0))
    checkpoints.close()


def test_seal_names_every_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"")
    seal(tmp_path)
    assert set(json.loads((tmp_path / "manifest.json").read_text())) == {"deep/a", "b"}


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    """Also where another one has its name, as when a save in progress made it again."""
    folder = tmp_path / "c"
    checkpoints = Checkpoints(LocalSteps(folder))
    checkpoints.save(state_at(1), {}, best_step=None)
    checkpoints.wait()
    shutil.rmtree(folder)
    (folder / "2").mkdir(parents=True)  # somebody else's
    checkpoints.save(state_at(2), {}, best_step=None)
    with pytest.raises(InputError, match=r"No such file or directory.*whole steps before it: 1"):
        checkpoints.wait()
    assert list(folder.iterdir()) == [folder / "2"]
    checkpoints.close()
