"""BertConfig: the architecture of a BERT encoder, read from Hugging Face's config.json.

That of another family too: see families.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown
from jaxbert.model.families import FAMILIES, Family
from jaxbert.model.folders import explain_no_model

ACTIVATIONS = ("gelu", "gelu_new", "relu")
MULTI_LABEL: Final = "multi_label_classification"
# What a sequence classifier's outputs mean; transformers chooses the loss, and softmax, sigmoid or
# neither, by it.
PROBLEM_TYPES = ("single_label_classification", MULTI_LABEL, "regression")

# Sizes in config.json, with the largest plausible value; a larger one would only exhaust memory.
_MAX_SIZES = {
    "vocab_size": 2_000_000,
    "hidden_size": 16_384,
    "num_hidden_layers": 256,
    "num_attention_heads": 256,
    "intermediate_size": 65_536,
    "max_position_embeddings": 65_536,
    "type_vocab_size": 1_024,
    "embedding_size": 16_384,
    "num_hidden_groups": 256,
}
# The largest published BERT has 3.9 billion parameters.
_MAX_PARAMETERS = 2**32
_OPTIONAL = ("embedding_size", "num_hidden_groups")
_RATES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "qa_dropout",
    "summary_last_dropout",
)

# Settings of config.json that would change the mathematics, with BERT's value.
_REQUIRED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "chunk_size_feed_forward": 0,
    "pruned_heads": {},
    "quantization_config": None,
}
# Settings that name code to run: a model that needs its own code is not a plain BERT.
_CODE_FIELDS = ("auto_map", "custom_pipelines", "trust_remote_code")
# Settings that choose the attention kernel; any other name is code on the Hub.
_KERNEL_FIELDS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
_KNOWN_KERNELS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT encoder, with the field names and defaults of Hugging Face's BertConfig.

    Attributes:
        model_type: the family, a name in FAMILIES.

    Raises:
        InputError: a field has the wrong type or is out of range, or `hidden_size` is not a
            multiple of `num_attention_heads`.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    classifier_dropout: float | None = None  # before a classifier; None is hidden_dropout_prob
    id2label: tuple[str, ...] = ()  # names of the classes, in the order of the outputs
    problem_type: str | None = None  # one of PROBLEM_TYPES; None if config.json has none
    model_type: str = "bert"
    embedding_size: int | None = None  # E, of the tables; None is hidden_size
    num_hidden_groups: int | None = None  # different layers, if several in a row are the same one
    qa_dropout: float = 0.0  # before the scores of tokens
    summary_last_dropout: float = 0.1  # before the score of a choice, in ELECTRA
    window_attention: bool = False  # jaxbert's own: a query weighs the windows of a text

    def __post_init__(self) -> None:
        if self.model_type not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise InputError(f"model_type is {shown(repr(self.model_type))}: there are {known}")
        for name, largest in _MAX_SIZES.items():
            value = getattr(self, name)
            if name in self.family.fixed or (name in _OPTIONAL and value is None):
                continue
            if not _is_int(value) or not 1 <= value <= largest:
                actual = shown(repr(value))
                raise InputError(f"{name} is {actual}: it must be an integer from 1 to {largest}")
        for name in _RATES:
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value < 1.0:
                actual = shown(repr(value))
                raise InputError(f"{name} is {actual}: it must be a number from 0 up to 1")
        rate = self.classifier_dropout
        if rate is not None and (not _is_number(rate) or not 0.0 <= rate < 1.0):
            actual = shown(repr(rate))
            raise InputError(f"classifier_dropout is {actual}: it must be a number from 0 up to 1")
        if len(set(self.id2label)) < len(self.id2label):
            raise InputError("id2label names a class twice")
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise InputError(
                f"problem_type is {shown(repr(self.problem_type))}: it must be one of "
                f"{', '.join(PROBLEM_TYPES)}"
            )
        for name in ("initializer_range", "layer_norm_eps"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 < value <= 1.0:
                actual = shown(repr(value))
                raise InputError(f"{name} is {actual}: it must be a number above 0, at most 1")
        if not _is_int(self.pad_token_id) or not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(
                f"pad_token_id is {shown(repr(self.pad_token_id))}: it must be a token of the "
                f"vocabulary, from 0 to {self.vocab_size - 1}"
            )
        if self.positions < 1:
            raise InputError(
                f"max_position_embeddings is {self.max_position_embeddings}: the first "
                f"{self.first_position} are the padding's, so there must be more"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(
                f"hidden_act is {shown(repr(self.hidden_act))}: jaxbert has "
                f"{', '.join(ACTIVATIONS)}"
            )
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.different_layers > self.num_hidden_layers:
            raise InputError(
                f"num_hidden_groups is {self.num_hidden_groups}: there are "
                f"{self.num_hidden_layers} layers"
            )
        if self.parameters > _MAX_PARAMETERS:
            raise InputError(
                f"its sizes make {self.parameters} parameters, and jaxbert takes {_MAX_PARAMETERS}"
                "; are hidden_size, intermediate_size, num_hidden_layers and vocab_size right?"
            )

    @property
    def parameters(self) -> int:
        """The number of the encoder's parameters, without biases and LayerNorms."""
        tables = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        layer = 4 * self.hidden_size + 2 * self.intermediate_size
        projection = self.hidden_size * self.projects_embeddings
        of_embeddings = self.embedding_width * (tables + projection)
        return of_embeddings + self.hidden_size * self.different_layers * layer

    @property
    def family(self) -> Family:
        """In what it differs from BERT."""
        return FAMILIES[self.model_type]

    def head_dropout(self, head: str) -> float:
        """The rate of the dropout before the last layer of a head."""
        rate: float | None = getattr(self, self.family.rates.get(head, "classifier_dropout"))
        return self.hidden_dropout_prob if rate is None else rate

    def branch_dropout(self, branch: str) -> float:
        """The rate of the dropout after a layer's "attention" or "mlp"."""
        return 0.0 if branch in self.family.without_dropout else self.hidden_dropout_prob

    @property
    def embedding_width(self) -> int:
        """E, the width of the embeddings before their projection."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    @property
    def projects_embeddings(self) -> bool:
        """Whether a dense layer makes D numbers of the E of an embedding."""
        return self.family.always_projects or self.embedding_width != self.hidden_size

    @property
    def different_layers(self) -> int:
        """How many layers have parameters of their own; all, but where several are the same."""
        groups = self.num_hidden_groups
        return self.num_hidden_layers if groups is None else groups

    def layer_of(self, index: int) -> int:
        """The number of the parameters of layer `index`."""
        return index * self.different_layers // self.num_hidden_layers

    @property
    def first_position(self) -> int:
        """The row of the table of positions for a window's first token."""
        return self.pad_token_id + 1 if self.family.skips_padding else 0

    @property
    def positions(self) -> int:
        """The most tokens of a window."""
        return self.max_position_embeddings - self.first_position

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several classes, each with an independent probability."""
        return self.problem_type == MULTI_LABEL

    @property
    def head_size(self) -> int:
        """H, the width of one attention head."""
        return self.hidden_size // self.num_attention_heads


def _is_int(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Json) -> bool:
    # NaN fails the callers' comparisons, and infinities are out of range.
    return _is_int(value) or isinstance(value, float)


# BERT's two sizes (Devlin et al. 2019).
SIZES = {
    "bert-base": BertConfig(),
    "bert-large": BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
}


def config_from_dict(raw: Json, origin: str) -> BertConfig:
    """Make a BertConfig from the content of a config.json.

    Only the fields that the family names are used. A field that would change the mathematics must
    have BERT's value; all other fields are ignored.

    Raises:
        InputError: not a BERT config, or an invalid field; the message begins with `origin`.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{origin}: expected a JSON object, found {type(raw).__name__}")
    model_type = raw.get("model_type", "bert")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise InputError(
            f"{origin}: model_type is {shown(repr(model_type))}, and jaxbert reads "
            f"{', '.join(FAMILIES)} only (Chinese BERT, RoBERTa-wwm-ext, MacBERT, MiniLM and "
            "TinyBERT are saved as bert)"
        )
    family = FAMILIES[model_type]
    for name, value in {**_REQUIRED, **family.required}.items():
        if raw.get(name, value) not in (value, None):
            actual = shown(repr(raw[name]))
            raise InputError(f"{origin}: {name} is {actual}; jaxbert computes {value!r} only")
    for name in _CODE_FIELDS:
        if raw.get(name):
            raise InputError(
                f"{origin}: {name} names code to be run, and jaxbert runs none that comes with a "
                "model; take a model of plain BERT"
            )
    for name in _KERNEL_FIELDS:
        if raw.get(name) not in (None, *_KNOWN_KERNELS):
            raise InputError(
                f"{origin}: {name} is {shown(repr(raw[name]))}, which may be code to be run; "
                "remove the field, which jaxbert does not need"
            )
    given = {n: raw[theirs] for n, theirs in family.fields.items() if raw.get(theirs) is not None}
    used = {"model_type": model_type, **family.defaults, **given, **family.fixed}
    if "id2label" in used:
        used["id2label"] = _label_names(used["id2label"], origin)
    used["window_attention"] = raw.get("window_attention") is True
    try:
        return BertConfig(**used)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None


def _is_text(value: Json) -> bool:
    # A lone surrogate cannot be saved.
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _label_names(raw: Json, origin: str) -> tuple[str, ...]:
    """The names in config.json's id2label, {"0": name, ...}, in the order of their indices."""
    if isinstance(raw, dict) and all(_is_text(name) for name in raw.values()):
        names = {str(index): name for index, name in raw.items()}
        if set(names) == {str(index) for index in range(len(names))}:
            return tuple(names[str(index)] for index in range(len(names)))
    raise InputError(f'{origin}: id2label is not of the form {{"0": name, "1": name, ...}}')


def load_config(path: str | Path) -> BertConfig:
    """Read a config.json, or the one in a folder.

    Raises:
        InputError: the file is missing, is not JSON, or is not a BERT config.
    """
    file, raw = _read(path)
    return config_from_dict(raw, str(file))


def load_architecture(path: str | Path) -> str | None:
    """The class of the weights according to config.json, for instance BertForMaskedLM."""
    names = _read(path)[1].get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None


def load_tied(path: str | Path) -> bool:
    """Whether config.json says that the token decoder is the table of word embeddings."""
    return bool(_read(path)[1].get("tie_word_embeddings", True))


def _read(path: str | Path) -> tuple[Path, dict[str, Json]]:
    """The path of a config.json, given by itself or by its folder, and its content."""
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    try:
        return file, read_object(file)
    except FileNotFoundError:
        if explanation := explain_no_model(file.parent):
            raise InputError(f"{file.parent}: {explanation}") from None
        raise InputError(f"{file}: no such file; a model folder needs a config.json") from None


def config_to_dict(cfg: BertConfig) -> dict[str, Json]:
    """The content of a config.json that transformers reads as the same encoder."""
    fields: dict[str, Json] = {
        "model_type": cfg.model_type,
        "position_embedding_type": "absolute",
    }
    fields |= {theirs: getattr(cfg, name) for name, theirs in cfg.family.fields.items()}
    del fields["id2label"]
    names = cfg.id2label
    if names:
        fields["id2label"] = {str(index): name for index, name in enumerate(names)}
        fields["label2id"] = {name: index for index, name in enumerate(names)}
    if cfg.problem_type is None:
        del fields["problem_type"]
    if cfg.window_attention:
        fields["window_attention"] = True
    return fields
