"""Trains a WordPiece vocabulary on text and saves it as a tokenizer folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from jaxbert.errors import InputError
from jaxbert.io.files import write_json, write_text
from jaxbert.model.tokenizer import load_tokenizer

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_vocabulary(
    texts: Iterable[str], *, vocab_size: int, lowercase: bool
) -> tuple[list[str], list[str]]:
    """Train a WordPiece vocabulary; equal texts give equal tokens.

    The special tokens come first, with [PAD] as 0. Then comes every character of the texts, by
    itself and, if it occurs inside a word, as "##c". Then come the sub-words and words that
    tokenizers' WordPieceTrainer merges from them, without pairs that occur only once. Each Chinese
    character is a word, so it is in no longer token.

    Args:
        texts: iterated over once.
        vocab_size: maximum tokens. If that is too few for the characters, the rarest are left out.
        lowercase: lowercase letters and strip their accents first, as "uncased" models do.

    Returns:
        The tokens by id, and lines of statistics for the log.

    Raises:
        InputError: the texts have no words, or vocab_size leaves no room for a character.
    """
    words = _count_words(texts, lowercase)
    if not words:
        raise InputError("the text has no words to make a vocabulary from")
    symbols, notes = _alphabet(words, vocab_size)
    characters = set(symbols)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        # The trainer numbers "##c" in the order of a hash table, which differs from run to run and
        # decides between equally frequent pairs. Tokens given here are numbered before that.
        special_tokens=[*_SPECIAL, *symbols],
    )
    # A word with a character that was left out is [UNK], so there is nothing to learn from it.
    usable = ((word, count) for word, count in words.items() if characters.issuperset(word))
    tokenizer.train_from_iterator(
        (" ".join([word] * count) for word, count in usable), trainer=trainer
    )
    ids = tokenizer.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    longer = len(tokens) - len(_SPECIAL) - len(symbols)
    statistics = (
        f"{len(tokens):,} tokens: {len(_SPECIAL)} special, {len(symbols):,} characters (single and "
        f"inside words), {longer:,} longer, of {words.total():,} words, {len(words):,} different"
    )
    if len(tokens) < vocab_size:
        notes.append(f"fewer than --vocab_size {vocab_size:,}: no other pair occurs twice")
    return tokens, [statistics, *notes]


def _count_words(texts: Iterable[str], lowercase: bool) -> Counter[str]:
    """Counts the words that BERT's tokenizer passes to WordPiece."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    pieces: Counter[str] = Counter()
    for text in texts:
        # Split at white space first: then each distinct piece is searched for punctuation once.
        pieces.update(normalizer.normalize_str(text).split())
    words: Counter[str] = Counter()
    for piece, count in pieces.items():
        for word, _ in splitter.pre_tokenize_str(piece):
            words[word] += count
    return words


def _alphabet(words: Counter[str], vocab_size: int) -> tuple[list[str], list[str]]:
    """The most frequent characters that fit: first by themselves, then as "##c", sorted."""
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in words.items():
        for character in word:
            counts[character] += count
        inside.update(word[1:])
    room = vocab_size - len(_SPECIAL)
    kept: set[str] = set()
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    for character in ranked:
        room -= 1 + (character in inside)
        if room < 0:
            break
        kept.add(character)
    needed = len(_SPECIAL) + len(counts) + len(inside)
    if not kept:
        raise InputError(
            f"--vocab_size {vocab_size}: no room for characters; those of the text need {needed:,}"
        )
    notes = []
    if len(kept) < len(counts):
        unknown = sum(count for word, count in words.items() if not kept.issuperset(word))
        notes.append(
            f"--vocab_size {vocab_size:,} has no room for {len(counts) - len(kept):,} of the "
            f"text's {len(counts):,} characters, so {unknown / words.total():.2%} of its words "
            f"become [UNK]; {needed:,} would hold all"
        )
    return [*sorted(kept), *(f"##{c}" for c in sorted(kept & inside))], notes


def save_vocabulary(folder: Path, tokens: Sequence[str], *, lowercase: bool) -> None:
    """Write vocab.txt, tokenizer_config.json and tokenizer.json, as transformers loads them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in tokens))
    write_json(folder / "tokenizer_config.json", {"do_lower_case": lowercase})
    load_tokenizer(folder, vocab_size=len(tokens)).save_pretrained(folder)
