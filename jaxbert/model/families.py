"""The families of encoders that are BERT's in other shapes. All that differs between them is here.

A family is data: the names of its tensors and settings in a Hugging Face folder, the shape of its
heads, and which parts of BERT it lacks. `encoder`, `heads` and `names` read these records and ask
for no family's name. Sources: the modeling_*.py files of transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How a classifier reads a window's first token: dense layer, activation, dropout, output.

    Attributes:
        dense, output: the tensors of the two layers.
        activation: between them, a name in heads.ACTIVATIONS or "tanh".
        drops_input: whether there is dropout before the dense layer too.
    """

    dense: str
    output: str = "classifier"
    activation: str = "tanh"
    drops_input: bool = False


@dataclasses.dataclass(frozen=True)
class MaskedLM:
    """The masked language model's head: tensors, and its activation (None: the encoder's).

    Attributes:
        transform, norm: the dense layer and the LayerNorm before the decoder.
        bias: of the decoder; decoder: its tensors where they are saved by another name, too.
    """

    transform: str
    norm: str
    bias: str
    decoder: str
    activation: str | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        classes: transformers' class of each head; a head that is not here does not exist.
        prefix: of the encoder's tensors.
        embeddings: our names of the modules that come before the layers, and theirs.
        layer: their name of a layer, with a place for its number.
        modules: our names of a layer's modules, and theirs.
        classifier, choice: the heads of one text or pair, and of one of several choices.
        masked_lm: the head of masked language modelling.
        others: tensors of heads that jaxbert has not, as a regular expression.
        fields: the fields of BertConfig that its config.json has, and their names there.
        defaults: of its config.json, where they are not BERT's.
        fixed: fields of BertConfig that its config.json does not have.
        required: settings that would change the mathematics, with the value that is computed.
        rates: by head, the field with the rate of the dropout before its last layer, if that is
            not classifier_dropout.
        skips_padding: whether positions are counted from pad_token_id + 1 (fairseq) or from 0.
        always_projects: whether embeddings are projected even where they are as wide as a layer.
        without_dropout: the branches of a layer that have no dropout, "attention" or "mlp".
        tokenizer: transformers' class.
    """

    classes: Mapping[str, str]
    prefix: str
    embeddings: Mapping[str, str]
    layer: str
    modules: Mapping[str, str]
    classifier: Pooling
    choice: Pooling
    masked_lm: MaskedLM
    others: str
    fields: Mapping[str, str]
    defaults: Mapping[str, int | float | str] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, int | float] = dataclasses.field(default_factory=dict)
    required: Mapping[str, str | bool | int] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"qa": "qa_dropout"})
    skips_padding: bool = False
    always_projects: bool = False
    without_dropout: frozenset[str] = frozenset()
    tokenizer: str = "BertTokenizer"


def _classes(name: str, *more: str) -> dict[str, str]:
    """The classes of all heads but those that only some families have."""
    heads = {
        "qa": "QuestionAnswering",
        "classification": "SequenceClassification",
        "regression": "SequenceClassification",
        "multiple_choice": "MultipleChoice",
        "tagging": "TokenClassification",
        "mlm": "MaskedLM",
        "next_sentence": "NextSentencePrediction",
    }
    return {
        head: f"{name}For{kind}"
        for head, kind in heads.items()
        if head != "next_sentence" or head in more
    }


_SETTINGS: Final = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
    "classifier_dropout",
    "id2label",
    "problem_type",
)
_FIELDS: Final = {name: name for name in _SETTINGS}
_EMBEDDINGS: Final = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embeddings": "embeddings.position_embeddings",
    "token_type_embeddings": "embeddings.token_type_embeddings",
    "layer_norm": "embeddings.LayerNorm",
}
_MODULES: Final = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp_in": "intermediate.dense",
    "mlp_out": "output.dense",
    "mlp_norm": "output.LayerNorm",
}

_BERT: Final = Family(
    classes=_classes("Bert", "next_sentence"),
    prefix="bert",
    embeddings=_EMBEDDINGS,
    layer="encoder.layer.{}",
    modules=_MODULES,
    classifier=Pooling("bert.pooler.dense"),
    choice=Pooling("bert.pooler.dense"),
    masked_lm=MaskedLM(
        transform="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        bias="cls.predictions",
        decoder="cls.predictions.decoder",
    ),
    others=r"(bert\.pooler|cls|classifier|qa_outputs|lm_head|fit_denses?)\.",
    fields=_FIELDS,
)


def _roberta(name: str, vocab_size: int) -> Family:
    """Liu et al. 2019, and with other tokens Conneau et al. 2020. One token type, pairs of texts
    with two separators, positions counted from behind the padding's."""
    return dataclasses.replace(
        _BERT,
        classes=_classes(name),
        prefix="roberta",
        classifier=Pooling("classifier.dense", "classifier.out_proj", drops_input=True),
        choice=Pooling("roberta.pooler.dense"),
        masked_lm=MaskedLM(
            transform="lm_head.dense",
            norm="lm_head.layer_norm",
            bias="lm_head",
            decoder="lm_head.decoder",
            activation="gelu",
        ),
        others=r"(roberta\.pooler|classifier|qa_outputs|lm_head)\.",
        defaults={"vocab_size": vocab_size, "pad_token_id": 1},
        skips_padding=True,
        tokenizer=f"{name}Tokenizer",
    )


# Sanh et al. 2019. No token types; a dense layer with relu in the pooler's place.
_DISTILBERT: Final = dataclasses.replace(
    _BERT,
    classes=_classes("DistilBert"),
    prefix="distilbert",
    embeddings={n: m for n, m in _EMBEDDINGS.items() if n != "token_type_embeddings"},
    layer="transformer.layer.{}",
    modules={
        "attention/query": "attention.q_lin",
        "attention/key": "attention.k_lin",
        "attention/value": "attention.v_lin",
        "attention/output": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "mlp_in": "ffn.lin1",
        "mlp_out": "ffn.lin2",
        "mlp_norm": "output_layer_norm",
    },
    classifier=Pooling("pre_classifier", activation="relu"),
    choice=Pooling("pre_classifier", activation="relu"),
    masked_lm=MaskedLM(
        transform="vocab_transform",
        norm="vocab_layer_norm",
        bias="vocab_projector",
        decoder="vocab_projector",
    ),
    others=r"(pre_classifier|classifier|qa_outputs|vocab_(transform|layer_norm|projector))\.",
    fields={
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "max_position_embeddings": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "pad_token_id": "pad_token_id",
        "classifier_dropout": "seq_classif_dropout",
        "qa_dropout": "qa_dropout",
        "id2label": "id2label",
        "problem_type": "problem_type",
    },
    defaults={"num_hidden_layers": 6, "classifier_dropout": 0.2, "qa_dropout": 0.1},
    fixed={"type_vocab_size": 0, "layer_norm_eps": 1e-12},
    required={"sinusoidal_pos_embds": False},
    rates={"qa": "qa_dropout", "tagging": "hidden_dropout_prob"},
    without_dropout=frozenset({"attention"}),
)
# Clark et al. 2020. Narrow embeddings, projected; gelu in the pooler's place.
_ELECTRA: Final = dataclasses.replace(
    _BERT,
    classes=_classes("Electra"),
    prefix="electra",
    embeddings={**_EMBEDDINGS, "project": "embeddings_project"},
    classifier=Pooling("classifier.dense", "classifier.out_proj", "gelu", drops_input=True),
    choice=Pooling("sequence_summary.summary", activation="gelu"),
    masked_lm=MaskedLM(
        transform="generator_predictions.dense",
        norm="generator_predictions.LayerNorm",
        bias="generator_lm_head",
        decoder="generator_lm_head",
        activation="gelu",
    ),
    others=r"((discriminator|generator)_predictions|generator_lm_head|classifier|qa_outputs"
    r"|sequence_summary)\.",
    fields={
        **_FIELDS,
        "embedding_size": "embedding_size",
        "summary_last_dropout": "summary_last_dropout",
    },
    defaults={
        "embedding_size": 128,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    required={"summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"},
    rates={"qa": "qa_dropout", "multiple_choice": "summary_last_dropout"},
)

# Lan et al. 2020. Narrow embeddings, projected; one layer in the place of all.
_ALBERT: Final = dataclasses.replace(
    _BERT,
    classes=_classes("Albert"),
    prefix="albert",
    embeddings={**_EMBEDDINGS, "project": "encoder.embedding_hidden_mapping_in"},
    layer="encoder.albert_layer_groups.{}.albert_layers.0",
    modules={
        "attention/query": "attention.query",
        "attention/key": "attention.key",
        "attention/value": "attention.value",
        "attention/output": "attention.dense",
        "attention_norm": "attention.LayerNorm",
        "mlp_in": "ffn",
        "mlp_out": "ffn_output",
        "mlp_norm": "full_layer_layer_norm",
    },
    classifier=Pooling("albert.pooler"),
    choice=Pooling("albert.pooler"),
    masked_lm=MaskedLM(
        transform="predictions.dense",
        norm="predictions.LayerNorm",
        bias="predictions",
        decoder="predictions.decoder",
    ),
    others=r"(albert\.pooler|predictions|sop_classifier|classifier|qa_outputs)\.",
    fields={
        **_FIELDS,
        "classifier_dropout": "classifier_dropout_prob",
        "embedding_size": "embedding_size",
        "num_hidden_groups": "num_hidden_groups",
    },
    defaults={
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_hidden_groups": 1,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": 0.1,
    },
    required={"inner_group_num": 1},
    always_projects=True,
    without_dropout=frozenset({"mlp"}),
    tokenizer="AlbertTokenizer",
)

FAMILIES: Final[Mapping[str, Family]] = {
    "bert": _BERT,
    "roberta": _roberta("Roberta", 50265),
    "xlm-roberta": _roberta("XLMRoberta", 30522),
    "distilbert": _DISTILBERT,
    "electra": _ELECTRA,
    "albert": _ALBERT,
}
