"""config.json's problem_type: what transformers makes of the folders, and which one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import transformers
from tiny_models import assert_near, tiny_model

from jaxbert import InputError, TextRegressor
from jaxbert.model.config import PROBLEM_TYPES, load_config
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration

TEXTS = ["Who was at the station?", "What is in the train of Ada?", "of", "It is 北京 \U0001f682!"]


def config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def test_the_pipeline_gives_a_saved_regressors_numbers_as_they_are(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, "regression", ("score",))
    assert config(folder)["problem_type"] == "regression"
    ours = TextRegressor.from_pretrained(folder)(TEXTS)
    # No function_to_apply: what it does by itself, which would be a sigmoid.
    assert_near(ours, transformers.pipeline("text-classification", model=str(folder))(TEXTS))
    assert max(abs(one["score"]) for one in ours) > 1  # no sigmoid gives that


@pytest.mark.parametrize("problem", [*PROBLEM_TYPES, None])
@pytest.mark.parametrize("head", ["classification", "regression", "tagging", "qa", "mlm"])
def test_it_is_kept_where_it_is_true(tmp_path: Path, head: str, problem: str | None) -> None:
    labels = ("one",) if head == "regression" else ("no", "yes")
    folder = tiny_model(tmp_path, head, labels)
    raw = config(folder)
    raw.pop("problem_type", None)
    (folder / "config.json").write_text(json.dumps(raw | {"problem_type": problem}))
    wanted = {"regression": "regression", "classification": problem}.get(head)
    cfg, params = load_pretrained(folder, head, draw_head=False)
    assert cfg.problem_type == wanted
    save_pretrained(folder, cfg, params, load_tokenizer(folder), head=head)
    assert config(folder).get("problem_type") == wanted
    assert load_config(folder).problem_type == wanted


def test_a_head_for_another_problem_has_its_own(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, "regression", ("score",))
    for head, wanted in (("qa", None), ("tagging", None), ("regression", "regression")):
        cfg, params = load_pretrained(folder, head, key=jax.random.key(1))
        save_pretrained(tmp_path / head, cfg, params, None, head=head)
        assert config(tmp_path / head).get("problem_type") == wanted
    assert np.isfinite(jax.tree.leaves(params)[0]).all()


@pytest.mark.parametrize("value", ["multi_label", "", 3, ["regression"]])
def test_an_unknown_one_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    folder = tiny_model(tmp_path, "classification", ("no", "yes"))
    (folder / "config.json").write_text(json.dumps(config(folder) | {"problem_type": value}))
    with pytest.raises(InputError, match=r"config\.json: problem_type is .*multi_label_classif"):
        load_config(folder)
