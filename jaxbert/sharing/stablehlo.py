"""A model as a StableHLO program, which runs with JAX alone, on CPUs, GPUs and TPUs.

B rows and T tokens are free, for multiple choice K choices too: one program is for all sizes.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export
from safetensors.numpy import save

from jaxbert.data.batch import Batch
from jaxbert.errors import InputError
from jaxbert.io.files import write_bytes, write_text
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Outputs, Params, make_apply
from jaxbert.runtime.target import Target

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, WEIGHTS, README = "model.stablehlo", "weights.safetensors", "README.md"

# The folder's own, which a program beside the model needs: words to ids, and the names of classes.
_BESIDE = ("tokenizer.json", "tokenizer_config.json", "config.json")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def flat(params: Params) -> dict[str, np.ndarray]:
    """Parameters by name, as the program takes them: a/b/c for those of module b in module a."""
    leaves = traverse_util.flatten_dict(jax.tree.map(np.asarray, params), sep="/")
    return {name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}


def export_model(
    cfg: BertConfig, head: str, params: Params, platforms: Sequence[str]
) -> export.Exported:
    """The model without dropout as a program (weights, inputs) -> outputs of the head.

    Weights are those of `flat`, float32. Inputs are input_ids, attention_mask and token_type_ids,
    int32 (B, T), for multiple choice (B, T, K), with B, T, K >= 1 and T at most
    max_position_embeddings.

    Args:
        platforms: of PLATFORMS; the program is for all of these.
    """
    # What is computed for TPUs without kernels is plain XLA, and has no form of one device.
    apply = make_apply(cfg, head, attention="xla", target=Target("tpu"))

    def model(weights: dict[str, jax.Array], inputs: dict[str, jax.Array]) -> Outputs:
        nested = traverse_util.unflatten_dict(weights, sep="/")
        batch: Batch[jax.Array] = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "token_type_ids": inputs["token_type_ids"],
        }
        outputs = apply(nested, batch)
        return {name: x for name, x in outputs.items() if name != "last_hidden_state"}

    names = ("b", "t", "k") if head == "multiple_choice" else ("b", "t")
    limits = [f"t <= {cfg.positions}"]
    shape = export.symbolic_shape(", ".join(names), constraints=limits)
    inputs = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name in _INPUTS}
    weights = {n: jax.ShapeDtypeStruct(x.shape, x.dtype) for n, x in flat(params).items()}
    return export.export(jax.jit(model), platforms=list(platforms))(weights, inputs)


def save_exported(
    folder: Path, cfg: BertConfig, head: str, params: Params, source: Path, platforms: Sequence[str]
) -> export.Exported:
    """Write the program, its weights, the tokenizer and a README.md that says how to call it.

    Args:
        folder: made where it is missing.
        source: the folder of the model.

    Raises:
        InputError: the folder holds something already, or flatbuffers is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--output_dir {folder}: there is something already; give a new folder")
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError('flatbuffers is not installed; pip install "jaxbert[export]"')
    exported = export_model(cfg, head, params, platforms)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / PROGRAM, bytes(exported.serialize()))
    write_bytes(folder / WEIGHTS, save(flat(params)))
    for name in _BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    write_text(folder / README, _readme(cfg, head, exported))
    return exported


def _readme(cfg: BertConfig, head: str, exported: export.Exported) -> str:
    outputs = _described(exported)
    shape = "(B, T, K)" if head == "multiple_choice" else "(B, T)"
    zeros = "np.ones((1, 8, 4), np.int32)" if shape.count(",") == 2 else "np.ones((1, 8), np.int32)"
    lines = "\n".join(f"- `{name}`: {kind}" for name, kind in outputs.items())
    windows = (
        "\n\nA text that is read in several windows has the mean of their outputs, weighed by the "
        "softmax of\ntheir `window_scores`."
    ) * cfg.window_attention
    classes = f"\n\nClasses, in their order: {json.dumps(cfg.id2label)}." if cfg.id2label else ""
    return f"""# {PROGRAM}

A BERT model as a StableHLO program for {", ".join(exported.platforms)}. It needs JAX
{jax.__version__} or later, `safetensors` and `flatbuffers`, and nothing of jaxbert;
`tokenizer.json` is read by the package `tokenizers`.

```python
import jax, numpy as np
from jax import export
from safetensors.numpy import load_file

program = export.deserialize(bytearray(open("{PROGRAM}", "rb").read()))
model, weights = jax.jit(program.call), load_file("{WEIGHTS}")
ids = {zeros}
outputs = model(
    weights, {{"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}}
)
```

Inputs are int32 {shape}: any B and T, T at most {cfg.positions}.
`attention_mask` is 1 at tokens and 0 at padding, `token_type_ids` is 1 at tokens of a second text.
Each new size compiles once. Outputs are float32:

{lines}{windows}{classes}
"""


def _described(exported: export.Exported) -> Mapping[str, str]:
    """Output -> its shape, in words."""
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    return {name: f"({', '.join(map(str, x.shape)).upper()})" for name, x in outputs.items()}
