"""Make a WordPiece vocabulary of your text, and a small BERT to train from scratch with it.

    jaxbert vocabulary --train_file a.txt b.tsv --vocab_size 8000 --output_dir vocab
    jaxbert train mlm --config_name vocab --train_file a.txt b.tsv --output_dir runs/mlm

The folder has vocab.txt, tokenizer.json, tokenizer_config.json and config.json; the same text gives
the same files. A Chinese character is always a token of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxbert.cli import command_line
from jaxbert.data.lines import load_lines, read_lines
from jaxbert.data.vocabulary import save_vocabulary, train_vocabulary
from jaxbert.errors import InputError
from jaxbert.io.files import write_json
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.options.fields import Settings, option
from jaxbert.runs.place import check_writable


@dataclasses.dataclass(frozen=True)
class VocabularyOptions(Settings):
    """Flags of the command."""

    train_file: list[str] | None = option(
        None, "One or more files of text, as for jaxbert train mlm.", path=True
    )
    output_dir: str | None = option(None, "The folder to write, without a model in it.", path=True)
    vocab_size: int = option(8000, "The most tokens of the vocabulary.")
    lowercase: bool = option(True, "Lower letters and strip accents, as uncased models do.")
    text_column_name: str | None = option(None, "The column of the text, in files with columns.")
    quoted_tsv: bool = option(False, 'Fields of TSV files may be in quotes; else a " is text.')
    strict: bool = option(False, "Stop at the first faulty row instead of repairing it.")
    num_hidden_layers: int = option(4, "Of config.json: layers.")
    hidden_size: int = option(256, "Of config.json: width.")
    num_attention_heads: int = option(4, "Of config.json: heads of a layer.")
    intermediate_size: int = option(1024, "Of config.json: width of a layer's dense part.")
    debug: bool = option(False, "Show the traceback of an error.")


def run(words: Sequence[str]) -> None:
    """Write the vocabulary and the config.json."""
    options = command_line.parse(
        VocabularyOptions, words, prog="jaxbert vocabulary", description=__doc__
    )
    if not options.train_file or not options.output_dir:
        raise InputError("give --train_file, the text, and --output_dir, the folder to write")
    folder = Path(options.output_dir).expanduser()
    check_writable(folder)
    for name in ("config.json", "vocab.txt", "tokenizer.json"):
        if (folder / name).exists():
            raise InputError(f"--output_dir {folder} has a {name} already; give another folder")
    names = {field.name for field in dataclasses.fields(BertConfig)}
    sizes = {name: size for name, size in dataclasses.asdict(options).items() if name in names}
    cfg = BertConfig(**sizes)

    tables = [(f, load_lines(f, quoted_tsv=options.quoted_tsv)) for f in options.train_file]
    data = read_lines(tables, text_column=options.text_column_name, strict=options.strict)
    print(f"{', '.join(options.train_file)}: {len(data.examples):,} lines")
    if data.problems:
        first = data.problems[0]
        print(f"{len(data.problems):,} faulty lines; {first.where}: {first.what}")
    tokens, notes = train_vocabulary(
        (example.text for example in data.examples),
        vocab_size=options.vocab_size,
        lowercase=options.lowercase,
    )
    print(*notes, sep="\n")
    save_vocabulary(folder, tokens, lowercase=options.lowercase)
    write_json(
        folder / "config.json", config_to_dict(dataclasses.replace(cfg, vocab_size=len(tokens)))
    )
    print(f"vocabulary and config.json in {folder}")
