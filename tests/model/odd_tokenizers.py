"""Odd tokenizer folders: those that are opened, and those that are refused."""

from __future__ import annotations

from tokenizer_parts import (
    BASE,
    E1,
    E2,
    FAST,
    NAMED,
    RENAMED,
    SIZE,
    SPECIAL,
    Files,
    added,
    bert,
    config,
    decoder,
    file,
    settings,
    token,
    vocab,
)

# Folders that are opened.
EQUAL: dict[str, Files] = {
    "vocab alone": vocab(),
    "empty settings": vocab() | settings(),
    "cased": vocab() | settings(do_lower_case=False),
    "uncased": vocab() | settings(do_lower_case=True),
    "cased, accents stripped": vocab() | settings(do_lower_case=False, strip_accents=True),
    "uncased, accents kept": vocab() | settings(do_lower_case=True, strip_accents=False),
    "strip_accents null": vocab() | settings(strip_accents=None),
    "Chinese not split": vocab() | settings(tokenize_chinese_chars=False),
    "no basic tokenizer": vocab() | settings(do_basic_tokenize=False),
    "never_split": vocab() | settings(never_split=["[E1]"], do_lower_case=False),
    "BertTokenizer": vocab() | settings(tokenizer_class="BertTokenizer"),
    "BertTokenizerFast": vocab() | settings(tokenizer_class="BertTokenizerFast"),
    "class in config.json": vocab() | config(tokenizer_class="BertTokenizerFast"),
    "DistilBertTokenizer": vocab() | settings(tokenizer_class="DistilBertTokenizer"),
    "ElectraTokenizerFast": vocab() | settings(tokenizer_class="ElectraTokenizerFast"),
    "specials renamed": vocab() | settings(**RENAMED),
    "specials renamed, as objects": vocab()
    | settings(**{n: token(t) | {"__type": "AddedToken"} for n, t in RENAMED.items()}),
    "specials renamed in the map": vocab() | {"special_tokens_map.json": RENAMED},
    "specials renamed in the map, as objects": vocab()
    | {"special_tokens_map.json": {n: token(t) for n, t in RENAMED.items()}},
    "specials renamed in both": vocab()
    | settings(cls_token="the")
    | {"special_tokens_map.json": {"cls_token": "<"}},
    "bos and eos of the vocabulary": vocab() | settings(bos_token="[CLS]", eos_token="[SEP]"),
    "bos and eos null": vocab() | settings(bos_token=None, eos_token=None),
    "bos and eos set to be added": vocab()
    | settings(bos_token="[CLS]", eos_token="[SEP]", add_bos_token=True, add_eos_token=True),
    "added_tokens.json": vocab() | {"added_tokens.json": {E1: SIZE, E2: SIZE + 1}},
    "added_tokens.json, cased": vocab()
    | settings(do_lower_case=False)
    | {"added_tokens.json": {E2: SIZE + 1, E1: SIZE}},
    "added_tokens.json empty": vocab() | {"added_tokens.json": {}},
    "added_tokens.json of the vocabulary": vocab() | {"added_tokens.json": {"[unused1]": 5}},
    "added_tokens.json and special": vocab()
    | settings(additional_special_tokens=[E1, E2])
    | {"added_tokens.json": {E1: SIZE, E2: SIZE + 1}},
    "added_tokens.json and the map": vocab()
    | {"special_tokens_map.json": {"additional_special_tokens": [E1]}}
    | {"added_tokens.json": {E1: SIZE, "<ent>": SIZE + 1}},
    "decoder": vocab() | settings(added_tokens_decoder=decoder(token(E1), token(E2))),
    "decoder with the specials": vocab()
    | settings(
        added_tokens_decoder=decoder(*map(token, SPECIAL), first=0) | decoder(token(E1), token(E2))
    ),
    "decoder, normalized": vocab()
    | settings(added_tokens_decoder=decoder(token(E1, normalized=True, special=False))),
    "decoder, lstrip": vocab()
    | settings(added_tokens_decoder=decoder(token(E1, lstrip=True), token(E2))),
    "decoder, rstrip": vocab()
    | settings(added_tokens_decoder=decoder(token(E1, rstrip=True), token(E2))),
    "decoder, single words": vocab()
    | settings(added_tokens_decoder=decoder(token("entit", single_word=True), token("<ent>"))),
    "decoder and added_tokens.json": vocab()
    | settings(added_tokens_decoder=decoder(token(E1), token(E2)))
    | {"added_tokens.json": {E1: SIZE, E2: SIZE + 1}},
    "decoder hides the map": vocab()
    | settings(added_tokens_decoder=decoder(token(E1)))
    | {"special_tokens_map.json": {"cls_token": "<", "additional_special_tokens": ["<ent>"]}},
    "additional_special_tokens": vocab() | settings(additional_special_tokens=[E1, E2]),
    "additional_special_tokens as objects": vocab()
    | settings(additional_special_tokens=[token(E1, lstrip=True) | {"__type": "AddedToken"}]),
    "additional_special_tokens in the map": vocab()
    | {"special_tokens_map.json": {"additional_special_tokens": [E1, E2]}},
    "additional_special_tokens null": vocab() | settings(additional_special_tokens=None),
    "extra_special_tokens": vocab() | settings(extra_special_tokens=[E1, "[unused1]"]),
    "extra_special_tokens by name": vocab() | settings(extra_special_tokens={"ent_token": "<ent>"}),
    "a token of another name": vocab() | settings(entity_token="<ent>"),
    "split_special_tokens": vocab() | settings(split_special_tokens=True),
    "model_max_length": vocab() | settings(model_max_length=8),
    "max_len": vocab() | settings(max_len=16, init_inputs=[]),
    "padding at the left": vocab() | settings(padding_side="left"),
    "harmless extras": vocab()
    | settings(
        chat_template="{{ x }}", name_or_path="/elsewhere", clean_up_tokenization_spaces=True
    )
    | {"chat_template.jinja": "{{ y }}"},
    "Windows line ends": {"vocab.txt": "".join(f"{w}\r\n" for w in BASE)},
    "no last line end": {"vocab.txt": "\n".join(BASE)},
    "a blank line": {"vocab.txt": "\n".join([*BASE[:8], "", *BASE[8:], ""])},
    "a line twice": vocab(*BASE, "the"),
    "trailing spaces": {"vocab.txt": "".join(f"{w} \t\n" for w in BASE)},
    "tokenizer.json": file(),
    "tokenizer.json, vocab.txt of others": file() | vocab(*SPECIAL, "a"),
    "tokenizer.json, truncated and padded": file(
        truncation={
            "direction": "Right",
            "max_length": 3,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        padding={
            "strategy": {"Fixed": 64},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
    ),
    "tokenizer.json, cased": file(normalizer=bert(lowercase=False)) | settings(do_lower_case=False),
    "tokenizer.json lowercases, settings do not": file() | settings(do_lower_case=False),
    "tokenizer.json is cased, settings are not": file(normalizer=bert(lowercase=False))
    | settings(do_lower_case=True),
    "tokenizer.json, accents by settings": file() | settings(strip_accents=False),
    "tokenizer.json, Chinese by settings": file() | settings(tokenize_chinese_chars=False),
    "tokenizer.json, added": file(more=[added(E1, SIZE), added(E2, SIZE + 1, lstrip=True)]),
    "tokenizer.json, added of the vocabulary": file(more=[added("[unused1]", 5)]),
    "tokenizer.json and decoder": file(more=[added(E1, SIZE)])
    | settings(added_tokens_decoder=decoder(token(E1))),
    "tokenizer.json and added_tokens.json": file() | {"added_tokens.json": {E1: SIZE}},
    "tokenizer.json and additional": file() | settings(additional_special_tokens=[E1]),
    "tokenizer.json, specials by settings": file() | settings(**RENAMED),
    "tokenizer.json taken whole": file() | settings(tokenizer_class=FAST),
    "tokenizer.json taken whole, v5": file() | settings(tokenizer_class="TokenizersBackend"),
    "tokenizer.json taken whole, cased": file(normalizer=bert(lowercase=False))
    | settings(tokenizer_class=FAST),
    "tokenizer.json taken whole, class in config.json": file(normalizer=bert(lowercase=False))
    | config(tokenizer_class=FAST),
    "tokenizer.json taken whole beside do_lower_case": file()
    | settings(tokenizer_class=FAST, do_lower_case=False),
    "tokenizer.json taken whole, another normalizer": file(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    )
    | settings(tokenizer_class=FAST),
    "tokenizer.json taken whole, no normalizer": file(normalizer=None)
    | settings(tokenizer_class=FAST),
    "tokenizer.json taken whole, other words": file(pre_tokenizer={"type": "WhitespaceSplit"})
    | settings(tokenizer_class=FAST),
    "tokenizer.json taken whole, specials in the settings": file(added_tokens=[])
    | settings(tokenizer_class=FAST, **NAMED),
    "tokenizer.json taken whole, added": file(more=[added(E1, SIZE), added(E2, SIZE + 1)])
    | settings(tokenizer_class=FAST),
    "tokenizer.json taken whole, decoder": file()
    | settings(tokenizer_class=FAST, added_tokens_decoder=decoder(token(E1))),
    "tokenizer.json taken whole, short words": file(model__max_input_chars_per_word=60)
    | settings(tokenizer_class=FAST),
}

# Folders that are refused, and what the one line says.
REFUSED: dict[str, tuple[Files, str]] = {
    "Japanese": (
        vocab() | settings(tokenizer_class="BertJapaneseTokenizer"),
        "tokenizer_config.json: tokenizer_class is 'BertJapaneseTokenizer'",
    ),
    "Japanese in config.json": (
        vocab() | settings(do_lower_case=False) | config(tokenizer_class="BertJapaneseTokenizer"),
        "config.json: tokenizer_class is 'BertJapaneseTokenizer'",
    ),
    "slow": (
        vocab() | settings(tokenizer_class="BertTokenizerLegacy"),
        "tokenizer_class is 'BertTokenizerLegacy'",
    ),
    "RoBERTa without its files": (
        vocab() | settings(tokenizer_class="RobertaTokenizerFast"),
        "no tokenizer.json and no vocab.json with merges.txt",
    ),
    "XLNet": (
        vocab() | settings(tokenizer_class="XLNetTokenizerFast"),
        "tokenizer_class is 'XLNetTokenizerFast'",
    ),
    "class is no text": (vocab() | settings(tokenizer_class=3), "tokenizer_class is 3"),
    "whole file and none": (
        vocab() | settings(tokenizer_class=FAST),
        f"tokenizer_class is '{FAST}', which reads a tokenizer.json",
    ),
    "BPE": (
        file(model={"type": "BPE", "vocab": {}, "merges": []}),
        "tokenizer.json: model is 'BPE'",
    ),
    "Unigram": (
        file(model={"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}),
        "tokenizer.json: model is 'Unigram'",
    ),
    "do_lower_case is a text": (
        vocab() | settings(do_lower_case="false"),
        "tokenizer_config.json: do_lower_case is 'false': it must be true or false",
    ),
    "strip_accents is a number": (vocab() | settings(strip_accents=0), "strip_accents is 0"),
    "truncation at the left": (
        vocab() | settings(truncation_side="left"),
        "tokenizer_config.json: truncation_side is 'left'",
    ),
    "padding nowhere": (vocab() | settings(padding_side="none"), "padding_side is 'none'"),
    "tokenizer.json is cased, settings are silent": (
        file(normalizer=bert(lowercase=False)) | settings(model_max_length=512),
        "tokenizer.json: its normalizer has do_lower_case false, which tokenizer_config.json",
    ),
    "tokenizer.json keeps accents, settings are silent": (
        file(normalizer=bert(strip_accents=False)),
        "tokenizer.json: its normalizer has strip_accents false",
    ),
    "tokenizer.json joins Chinese, settings are silent": (
        file(normalizer=bert(handle_chinese_chars=False)),
        "tokenizer.json: its normalizer has tokenize_chinese_chars false",
    ),
    "tokenizer.json with another normalizer": (
        file(normalizer={"type": "Lowercase"}),
        "tokenizer.json: normalizer is 'Lowercase', which transformers' BertTokenizer replaces",
    ),
    "tokenizer.json without a normalizer": (
        file(normalizer=None) | settings(do_lower_case=False),
        "tokenizer.json: normalizer is None",
    ),
    "tokenizer.json keeps control characters": (
        file(normalizer=bert(clean_text=False)),
        "tokenizer.json: normalizer.clean_text is False",
    ),
    "tokenizer.json with other words": (
        file(pre_tokenizer={"type": "WhitespaceSplit"}),
        "tokenizer.json: pre_tokenizer is 'WhitespaceSplit'",
    ),
    "tokenizer.json with another prefix": (
        file(model__continuing_subword_prefix="_"),
        "tokenizer.json: model.continuing_subword_prefix is '_'",
    ),
    "tokenizer.json with short words": (
        file(model__max_input_chars_per_word=60),
        "tokenizer.json: model.max_input_chars_per_word is 60",
    ),
    "tokenizer.json taken whole, without [CLS]": (
        file(post_processor=None) | settings(tokenizer_class=FAST),
        r"tokenizer.json: post_processor does not make \[CLS\] A \[SEP\]",
    ),
    "tokenizer.json taken whole, specials not marked": (
        file(added_tokens=[]) | settings(tokenizer_class=FAST),
        r"tokenizer.json: \[UNK\] is not among its added_tokens",
    ),
    "tokenizer.json's token is not in the decoder": (
        file(more=[added(E1, SIZE)])
        | settings(added_tokens_decoder=decoder(*map(token, SPECIAL), first=0)),
        r"tokenizer.json: '\[E1\]' has the id \d+, .* does not have it",
    ),
    "a gap": (
        vocab() | {"added_tokens.json": {E1: SIZE, E2: SIZE + 3}},
        rf"added_tokens.json: '\[/E1\]' has the id {SIZE + 3}, .* gives it {SIZE + 1}",
    ),
    "a gap in the decoder": (
        vocab() | settings(added_tokens_decoder=decoder(token(E1), first=SIZE + 2)),
        rf"tokenizer_config.json: added_tokens_decoder: '\[E1\]' has the id {SIZE + 2}",
    ),
    "an id of the vocabulary": (
        vocab() | {"added_tokens.json": {E1: 5}},
        r"added_tokens.json: '\[E1\]' has the id 5",
    ),
    "ids beyond the model": (
        vocab() | {"added_tokens.json": {E1: SIZE}} | config(vocab_size=SIZE),
        f"ids up to {SIZE}, but config.json's vocab_size is {SIZE}",
    ),
    "additional beyond the model": (
        vocab() | settings(additional_special_tokens=[E1]) | config(vocab_size=SIZE),
        f"ids up to {SIZE}, but config.json's vocab_size is {SIZE}",
    ),
    "no [UNK]": (vocab(*(w for w in BASE if w != "[UNK]")), r"the tokenizer has no \[UNK\]"),
    "no [MASK] in tokenizer.json": (
        file([w for w in BASE if w != "[MASK]"]),
        r"the tokenizer has no \[MASK\]",
    ),
    "renamed to what is not there": (
        vocab() | settings(cls_token="<s>"),
        "the tokenizer has no <s>; BERT needs them",
    ),
    "UTF-8 with a byte order mark": (
        {"vocab.txt": b"\xef\xbb\xbf" + "\n".join(BASE).encode()},
        "vocab.txt: it begins with a byte order mark",
    ),
    "UTF-16": ({"vocab.txt": "\n".join(BASE).encode("utf-16")}, "vocab.txt: .* UTF-16"),
    "GB18030": (
        {"vocab.txt": "\n".join(BASE).encode("gb18030")},
        r"vocab.txt: its tokenizer cannot be read: line \d+ is not UTF-8",
    ),
    "CR alone": ({"vocab.txt": "\r".join(BASE)}, "vocab.txt: its lines end with only CR"),
    "several tokenizer files": (
        file() | settings(fast_tokenizer_files=["tokenizer.json", "tokenizer.4.0.0.json"]),
        "tokenizer_config.json: fast_tokenizer_files names several files",
    ),
    "arguments by place": (vocab() | settings(init_inputs=["/etc/passwd"]), "init_inputs is not"),
    # Hostile values of the files beside a vocabulary.
    "added_tokens.json is a list": (
        vocab() | {"added_tokens.json": []},
        "added_tokens.json: .* ob",
    ),
    "added_tokens.json is no JSON": (
        vocab() | {"added_tokens.json": b"\x80\x04"},
        "added_tokens.json: cannot be read as JSON",
    ),
    "added ids are texts": (
        vocab() | {"added_tokens.json": {E1: "40"}},
        r"added_tokens.json: '\[E1\]' has '40'",
    ),
    "added ids are negative": (vocab() | {"added_tokens.json": {E1: -1}}, "has -1: the id of"),
    "added ids are huge": (vocab() | {"added_tokens.json": {E1: 10**30}}, "the id of a token must"),
    "added ids are true": (vocab() | {"added_tokens.json": {E1: True}}, "has True: the id of"),
    "added nothing": (vocab() | {"added_tokens.json": {"": SIZE}}, "added_tokens.json: it has ''"),
    "added a long text": (
        vocab() | {"added_tokens.json": {"e" * 10**6: SIZE}},
        "added_tokens.json: it has 'eee",
    ),
    "added half a character": (
        vocab() | {"added_tokens.json": b'{"\\ud800": 50}'},
        "added_tokens.json: it has .* which is not a token",
    ),
    "added a million": (
        vocab() | {"added_tokens.json": {f"t{n}": n for n in range(20_000)}},
        "added_tokens.json: it has more than 10000 tokens",
    ),
    "decoder is a list": (
        vocab() | settings(added_tokens_decoder=[]),
        "tokenizer_config.json: added_tokens_decoder is not an object",
    ),
    "decoder with texts": (
        vocab() | settings(added_tokens_decoder={"50": E1}),
        "added_tokens_decoder has '50': .* of the form",
    ),
    "decoder with words for ids": (
        vocab() | settings(added_tokens_decoder={"fifty": token(E1)}),
        "added_tokens_decoder has 'fifty'",
    ),
    "decoder with other fields": (
        vocab() | settings(added_tokens_decoder={"50": {**token(E1), "code": "x"}}),
        "added_tokens_decoder has .* which is not a token",
    ),
    "a flag is a text": (
        vocab() | settings(added_tokens_decoder={"50": {**token(E1), "lstrip": "no"}}),
        "added_tokens_decoder has .* which is not a token",
    ),
    "additional is a text": (
        vocab() | settings(additional_special_tokens=E1),
        "additional_special_tokens is not a list",
    ),
    "additional holds lists": (
        vocab() | {"special_tokens_map.json": {"additional_special_tokens": [[E1]]}},
        "special_tokens_map.json: additional_special_tokens has .* which is not a token",
    ),
    "a special token is a number": (vocab() | settings(cls_token=2), "cls_token has 2"),
    "the map is a list": (
        vocab() | {"special_tokens_map.json": []},
        "special_tokens_map.json: cannot be read: expected an object",
    ),
}
