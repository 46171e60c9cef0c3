"""LoRA (Hu et al. 2022): 1 % of the parameters are trained, and what they change can be looked at.

Prints by matrix how large the change is, |s B A| / |W|, and how many directions it uses: the
exponential of the entropy of its squared singular values.
"""

import sys

import numpy as np
from safetensors.numpy import load_file

import jaxbert
from jaxbert.demo import CLASSIFICATION
from jaxbert.model.folders import find_model_folder

LORA = {"lora_rank": 8, "lora_alpha": 16, "lora_targets": ["query", "value"], "learning_rate": 1e-3}


def main(**settings):
    demo = {**CLASSIFICATION, "output_dir": "runs/lora", **LORA, **settings}
    run = jaxbert.train("classification", **demo)
    start = load_file(find_model_folder(demo["model_name_or_path"]) / "model.safetensors")
    names = {name.removeprefix("bert."): x for name, x in start.items()}
    adapter = load_file(run.output_dir / "adapter" / "adapter_model.safetensors")
    for name in sorted(name for name in adapter if name.endswith("lora_A.weight")):
        b = adapter[name.replace("lora_A", "lora_B")]
        change = demo["lora_alpha"] / demo["lora_rank"] * b @ adapter[name]
        module = name.removeprefix("base_model.model.bert.").removesuffix(".lora_A.weight")
        size = np.linalg.norm(change) / np.linalg.norm(names[f"{module}.weight"])
        p = np.linalg.svd(change, compute_uv=False) ** 2
        p = p[p > 0] / p.sum()
        print(f"{module:40} {size:.4f} of W, {np.exp(-(p * np.log(p)).sum()):.1f} directions")
    return run


if __name__ == "__main__":
    print(main(output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/lora").scores)
