"""--loss and --loss_args: names, options, a user's file right and wrong, and what a run keeps."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import DEMO, REPOSITORY, SMALL
from scripts import passed, refused, refuses, script, weights

from jaxbert.data.features import Features
from jaxbert.errors import InputError
from jaxbert.losses.check import _loud, try_loss
from jaxbert.losses.choose import choose_loss, with_keywords
from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.heads import init_params, make_apply
from jaxbert.tasks.qa import QA
from jaxbert.tasks.registry import TASKS

pytestmark = pytest.mark.integration

RIGHT = '''
import jax
import jax.numpy as jnp

def confident(outputs, batch, *, penalty: float = 0.1):
    """Cross-entropy, and a penalty on too sure a model."""
    loss = jnp.zeros_like(batch["weight"])
    for side in ("start", "end"):
        logits = jnp.where(batch["attention_mask"] != 0, outputs[f"{side}_logits"], -1e30)
        log_p = jax.nn.log_softmax(logits)
        gold = jnp.take_along_axis(log_p, batch[f"{side}_positions"][:, None], 1)[:, 0]
        entropy = -jnp.sum(jnp.where(batch["attention_mask"] != 0, jnp.exp(log_p) * log_p, 0), -1)
        loss -= (gold + penalty * entropy) / 2
    return jnp.sum(loss * batch["weight"]), jnp.sum(batch["weight"])

def twice(apply, params, batch, key):
    outputs = apply(params, batch, key=key, train=True)
    loss_sum, weight_sum = confident(outputs, batch)
    return 2 * loss_sum, weight_sum, {"half": (loss_sum, weight_sum)}
'''

HEAD = """
import jax
import jax.numpy as jnp

def rows(outputs, batch):
    logits = jnp.where(batch["attention_mask"] != 0, outputs["start_logits"], -1e30)
    picked = jnp.take_along_axis(logits, batch["start_positions"][:, None], 1)[:, 0]
    return jax.nn.logsumexp(logits, -1) - picked

def my_loss(outputs, batch):
    loss, weight = rows(outputs, batch), batch["weight"]
"""

# What is wrong with a loss -> its last line, and what the message says.
WRONG: dict[str, tuple[str, str]] = {
    "mean": (
        "return jnp.mean(loss * weight), jnp.float32(1)",
        "a batch has loss_sum .* and its halves together .*; return sums, not means",
    ),
    "mean of the loss alone": (
        "return jnp.sum(loss * weight) / jnp.sum(weight), jnp.sum(weight)",
        "return sums, not means",
    ),
    "nan": ("return jnp.sum(loss * weight) * jnp.nan, jnp.sum(weight)", "its loss_sum is nan"),
    "gradient nan": (
        "return jnp.sum(jnp.where(loss > -9, loss, 1) + 0 * jnp.sqrt(loss * 0)), jnp.sum(weight)",
        "its gradient is not finite",
    ),
    "shape": (
        "return loss * weight, jnp.sum(weight)",
        r"its loss_sum has the shape \(\d+,\), not \(\); sum over the rows",
    ),
    "one value": ("return jnp.sum(loss * weight)", "not \\(loss_sum, weight_sum\\)"),
    "no number": ('return "low", jnp.sum(weight)', "its loss_sum is no number"),
    "not traceable": (
        "return (jnp.sum(loss) if loss[0] > 0 else 0.0), jnp.sum(weight)",
        r"losses.py:12: it cannot be compiled: .*use jnp.where",
    ),
    "padding counts": ("return jnp.sum(loss + 1), jnp.sum(weight)", "padding rows behind them"),
    "no gradient": (
        'return jnp.sum(batch["start_positions"] * weight), jnp.sum(weight)',
        "no parameter has a gradient",
    ),
    "gradient nan on padding": (
        "return jnp.sum(jnp.where(weight > 0, loss * jnp.sqrt(weight), 0)"
        ' * jax.lax.stop_gradient(1.0)) + 0 * jnp.sum(jnp.sqrt(outputs["end_logits"] ** 2'
        " * weight[:, None])), jnp.sum(weight)",
        "its gradient is not finite on padding rows",
    ),
    "no weight": ("return jnp.sum(loss * weight), jnp.float32(0)", "its weight_sum is 0.0"),
    "no derivative": (
        "return jax.lax.while_loop(lambda x: x < 0, lambda x: x + 1, jnp.sum(loss * weight)), "
        "jnp.sum(weight)",
        "its gradient cannot be computed: ValueError: Reverse-mode differentiation",
    ),
    "error": ('return jnp.sum(batch["starts"]), 1', r"losses.py:12: KeyError: 'starts'"),
}


def features() -> Features:
    rng = np.random.default_rng(0)
    lengths = rng.integers(6, 19, 11)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    total = int(bounds[-1])
    tokens = {
        "input_ids": rng.integers(1, 50, total).astype(np.int32),
        "token_type_ids": np.zeros(total, np.int32),
        "context_mask": np.ones(total, bool),
    }
    start = rng.integers(1, 5, 11).astype(np.int32)
    rows = {"start_positions": start, "end_positions": start + 1}
    return Features(bounds, tokens, rows, np.arange(11, dtype=np.int32))


def attempt(
    path: Path,
    name: str = "my_loss",
    args: str | None = None,
    *,
    lengths: tuple[int, ...] = (20,),
    packing: bool = False,
) -> None:
    from jaxbert.data.sampling import make_batch

    chosen = choose_loss(QA.losses, f"{path}:{name}", args)
    params = init_params(SMALL, "qa", jax.random.key(0))
    data = features()
    batch = make_batch(data, np.arange(4), 20, 4)
    apply, key = make_apply(SMALL, "qa"), jax.random.key(1)
    more = {"packing": packing, "tolerance": 1e-3}
    try_loss(chosen, apply, params, [batch], data, lengths, None, key, **more)


@pytest.mark.parametrize("name", ["confident", "twice"])
def test_a_right_loss_passes(tmp_path: Path, name: str) -> None:
    (tmp_path / "losses.py").write_text(RIGHT)
    attempt(tmp_path / "losses.py", name)


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "losses.md").read_text()
    example = text.split("```python\n# my_losses.py\n")[1].split("```")[0]
    assert example.count("\n") <= 18
    (tmp_path / "my_losses.py").write_text(example)
    attempt(tmp_path / "my_losses.py", "in_the_paragraph", '{"penalty": 0.5}')


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_loss_is_told_in_one_line(tmp_path: Path, fault: str) -> None:
    line, message = WRONG[fault]
    (tmp_path / "losses.py").write_text(f"{HEAD}    {line}\n")
    with pytest.raises(InputError, match=message) as caught:
        attempt(tmp_path / "losses.py")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "losses.py") in str(caught.value)


def test_as_many_classes_as_tokens_are_no_tokens() -> None:
    batch = {"attention_mask": jnp.array([[1, 0, 0]])}
    outputs = {"logits": jnp.zeros((1, 3)), "last_hidden_state": jnp.zeros((1, 3, 2))}
    found = _loud(outputs, batch)
    assert not np.any(found["logits"])
    assert found["last_hidden_state"].tolist() == [[[0, 0], [9, 9], [9, 9]]]


@pytest.mark.parametrize("form", ["metrics", "pair", "name", "shape", "word"])
def test_a_wrong_result_of_the_second_form(tmp_path: Path, form: str) -> None:
    result = {
        "metrics": "0.0, 1.0, {'x': 1}",
        "pair": "0.0, 1.0",
        "name": "0.0, 1.0, {'grad_norm': (1.0, 1.0)}",
        "shape": "0.0, 1.0, {'x': (batch['weight'], 1.0)}",
        "word": "0.0, 1.0, {'x': ('high', 1.0)}",
    }[form]
    wanted = {
        "metrics": "its metrics are no dict",
        "pair": "not \\(loss_sum, weight_sum, metrics",
        "name": "metric grad_norm is reported already",
        "shape": "its metrics are no dict",
        "word": "its metrics are no dict",
    }
    text = f"def my_loss(apply, params, batch, key):\n    return {result}\n"
    (tmp_path / "losses.py").write_text(text)
    with pytest.raises(InputError, match=wanted[form]):
        attempt(tmp_path / "losses.py")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def other(outputs, batch): ...\n", "my_loss", "has no function my_loss; there are other"),
        ("x = 1\n", "x", "has no function x; there are none"),
        ("def my_loss(outputs, batch:\n", "my_loss", "losses.py:1: SyntaxError"),
        ("import nowhere_to_be_found\n", "my_loss", "losses.py:1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "my_loss", "losses.py:2: SystemExit: 3"),
        ("def my_loss(outputs): ...\n", "my_loss", "takes 1 arguments; the forms are"),
        ("def my_loss(outputs, batch, extra): ...\n", "my_loss", "takes 3 arguments"),
        ("def my_loss(outputs, batch, *, k): ...\n", "my_loss", "needs --loss_args '{\"k\": ...}'"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, name: str, message: str) -> None:
    (tmp_path / "losses.py").write_text(text)
    with pytest.raises(InputError, match=message):
        attempt(tmp_path / "losses.py", name)


def test_names_and_options_that_are_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "losses.py")
    for name, args, message in (
        ("focus", None, "--loss focus: there are cross_entropy, label_smoothing, "),
        (f"{missing}:x", None, "no such file"),
        (missing, None, "no such file"),
        ("focal", "{gamma: 1}", "--loss_args {gamma: 1}: not JSON"),
        ("focal", "[1]", "give an object"),
        ("focal", '{"gama": 1}', "--loss_args gama: the options of focal are gamma"),
        ("focal", '{"gamma": "2"}', "gamma: '2' is no float"),
        ("focal", '{"gamma": true}', "gamma: True is no float"),
        ("pgd", '{"steps": 1.5}', "steps: 1.5 is no int"),
        ("cross_entropy", '{"x": 1}', "the options of cross_entropy are none"),
        ("r_drop", '{"base_args": {"gamma": 1}}', "gamma: the options of cross_entropy are none"),
        ("r_drop", '{"base": "fgm"}', "base: fgm adds to a base itself"),
        ("r_drop", '{"base": "distillation"}', "needs --loss_args '{\"teacher\": ...}'"),
        ("r_drop", '{"base": 3}', "base is the name of a loss"),
        ("distillation", None, "--loss distillation needs --loss_args '{\"teacher\": ...}'"),
    ):
        with pytest.raises(InputError) as caught:
            choose_loss(QA.losses, name, args)
        assert message in str(caught.value)


def test_options_and_a_base_with_its_own_are_bound() -> None:
    chosen = choose_loss(QA.losses, "r_drop", '{"alpha": 2, "base": "focal"}')
    assert chosen.function.keywords["alpha"] == 2  # type: ignore[union-attr]
    text = '{"base": "label_smoothing", "base_args": {"smoothing": 0.3}}'
    base = choose_loss(QA.losses, "fgm", text).function.keywords["base"]  # type: ignore[union-attr]
    assert base.keywords == {"smoothing": 0.3}
    plain = choose_loss(QA.losses, "fgm").function
    assert plain.keywords["base"] is span_cross_entropy  # type: ignore[union-attr]
    assert "def span_cross_entropy" in choose_loss(QA.losses, "cross_entropy").source


def test_settings_of_the_task_reach_a_loss_or_are_refused() -> None:
    losses = TASKS["classification"].losses
    weights_of_classes = np.ones(2, np.float32)
    settings = {"class_weights": weights_of_classes}
    focal = with_keywords(choose_loss(losses, "focal"), settings)
    assert focal.function.keywords["class_weights"] is weights_of_classes  # type: ignore[union-attr]
    with pytest.raises(InputError, match="--loss_args class_weights: the options of focal are gam"):
        choose_loss(losses, "focal", '{"class_weights": [1, 2]}')
    r_drop = with_keywords(choose_loss(losses, "r_drop"), settings).function
    base = r_drop.keywords["base"]  # type: ignore[union-attr]
    assert base.keywords["class_weights"] is weights_of_classes
    with pytest.raises(InputError, match="--class_weights is not for --loss joint_span"):
        with_keywords(choose_loss(QA.losses, "joint_span"), settings)
    plain = choose_loss(QA.losses, "joint_span")
    assert with_keywords(plain, {"class_weights": None}) == plain


def test_a_base_of_a_users_file_is_the_users_too(tmp_path: Path) -> None:
    source = tmp_path / "losses.py"
    source.write_text(f"{HEAD}    {WRONG['mean'][0]}\n")
    chosen = choose_loss(QA.losses, "r_drop", json.dumps({"base": f"{source}:my_loss"}))
    assert chosen.user_defined
    assert source.read_text() in chosen.source
    assert "def r_drop" in chosen.source


def test_a_file_is_a_module_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations of dataclasses are looked up in it, files beside it are found, and a fault's line
    is told where the path is relative, too."""
    text = "from __future__ import annotations\nimport dataclasses\nimport beside\n"
    text += "@dataclasses.dataclass\nclass Settings:\n    rate: float = 0.1\n"
    text += "def my_loss(outputs, batch):\n    return outputs['nothing']\n"
    (tmp_path / "losses.py").write_text(text)
    (tmp_path / "beside.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"losses\.py:8: KeyError: 'nothing'"):
        attempt(Path("losses.py"))


def test_files_beside_a_loss_are_its_own(tmp_path: Path) -> None:
    """Two losses with a file of the same name beside them; its text is kept with the run."""
    found = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = "from beside import scale\n\ndef my_loss(outputs, batch):\n    return scale, 1\n"
        (folder / "losses.py").write_text(text)
        (folder / "beside.py").write_text(f"scale = {number}\n")
        found.append(choose_loss(QA.losses, f"{folder}/losses.py:my_loss", None))
        assert found[-1].source == f"{text}\n# beside.py\nscale = {number}\n"
    assert "beside" not in sys.modules
    scales = [inspect.unwrap(loss.function).__globals__["scale"] for loss in found]
    assert scales == [1, 2]


def test_an_environment_beside_a_loss_is_not_its_own(tmp_path: Path) -> None:
    """As in a repository with .venv in it, whose packages are on the path anyhow."""
    packages = tmp_path / ".venv" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed_package.py").write_text("scale = 1\n")
    text = f"import sys\nsys.path.append({str(packages)!r})\nfrom installed_package import scale\n"
    text += "sys.path.pop()\ndef my_loss(outputs, batch):\n    return scale, 1\n"
    (tmp_path / "losses.py").write_text(text)
    found = choose_loss(QA.losses, f"{tmp_path}/losses.py:my_loss", None)
    assert found.source == text
    assert sys.modules.pop("installed_package").scale == 1


# --- runs ---------------------------------------------------------------------------------------


def words(tiny_folder: Path, output: Path, *more: str) -> list[str]:
    given = ["--model_name_or_path", str(tiny_folder), "--output_dir", str(output)]
    given += ["--train_file", str(DEMO / "qa_en_dev.json"), "--max_train_samples", "24"]
    given += ["--max_seq_length", "384", "--per_device_train_batch_size", "1", "--seed", "3"]
    return [*given, "--max_steps", "4", "--save_steps", "2", *more]


def test_a_run_keeps_the_loss_and_is_resumed_with_the_same_bits(
    tiny_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "losses.py"
    source.write_text(RIGHT)
    loss = ["--loss", f"{source}:twice", "--lr_scheduler_type", "constant"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    passed(script("train/qa.py", *words(tiny_folder, whole, *loss)))
    assert json.loads((whole / "options.json").read_text())["loss"] == RIGHT
    log = [json.loads(line) for line in (whole / "train_log.jsonl").read_text().splitlines()]
    assert all(line["loss"] == pytest.approx(2 * line["half"], rel=1e-5) for line in log)
    passed(script("train/qa.py", *words(tiny_folder, parts, *loss, "--max_steps", "2")))
    changed = [*loss, "--allow_changed_options", "max_steps"]
    source.write_text(RIGHT + "\n# another\n")
    result = script("train/qa.py", *words(tiny_folder, parts, *changed))
    refused(result, "is not the one that the run was started with")
    source.write_text(RIGHT)
    passed(script("train/qa.py", *words(tiny_folder, parts, *changed)))
    assert weights(parts) == weights(whole)


def test_a_wrong_loss_leaves_nothing_behind(tiny_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "losses.py"
    source.write_text(f"{HEAD}    {WRONG['mean'][0]}\n")
    given = words(tiny_folder, tmp_path / "out", "--loss", f"{source}:my_loss")
    assert "return sums, not means" in refuses("train/qa.py", *given)
    assert not (tmp_path / "out").exists()
    given = words(tiny_folder, tmp_path / "out", "--loss", "focal", "--loss_args", '{"gamma": -1}')
    assert "gamma: -1 must be from 0 to 100" in refuses("train/qa.py", *given)
    assert not (tmp_path / "out").exists()


def test_a_teacher_is_asked_once_and_learned_from(tiny_folder: Path, tmp_path: Path) -> None:
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    passed(script("train/qa.py", *words(tiny_folder, teacher)))
    loss = ["--loss", "distillation", "--loss_args"]
    args: dict[str, Any] = {"teacher": str(teacher), "alpha": 1.0, "hidden": 1.0}
    given = words(teacher, student, *loss, json.dumps(args), "--learning_rate", "1e-9")
    passed(script("train/qa.py", *given))
    log = [json.loads(line) for line in (student / "train_log.jsonl").read_text().splitlines()]
    # The student is the teacher, so only dropout parts them.
    assert all(0 < line["loss"] < 0.5 for line in log)
    for changes, message in (
        ({"teacher": str(tmp_path)}, "config.json"),
        ({"teacher": 3}, "give a folder or a name"),
        ({"teacher": ""}, "give a folder or a name"),
    ):
        given = words(tiny_folder, tmp_path / "x", *loss, json.dumps({**args, **changes}))
        assert message in refuses("train/qa.py", *given)
