"""Text -> a WordPiece vocabulary of one's own, and the tokenizer's folder that holds it."""

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
    """The tokens of a WordPiece vocabulary for these texts; equal texts give equal tokens.

    The special tokens come first, [PAD] as 0; then every character that the texts have, alone and,
    where it occurs inside a word, as "##c"; then the sub-words and words that
    tokenizers' WordPieceTrainer merges from them, in that order, pairs that occur once left out. A
    Chinese character is a word of its own, so it is in no longer token.

    Args:
        texts: gone through once.
        vocab_size: the most tokens. If that is too few for the characters, the rarest are left out.
        lowercase: lower letters and strip their accents first, as "uncased" models do.

    Returns:
        The tokens by id, and lines that say what was counted.

    Raises:
        InputError: the texts have no word, or vocab_size leaves no room for a character.
    """
    words = _count_words(texts, lowercase)
    if not words:
        raise InputError("there is no word in the text, so no vocabulary can be made of it")
    symbols, notes = _alphabet(words, vocab_size)
    characters = set(symbols)
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        # The trainer numbers "##c" in the order of a hash table, which differs from run to run and
        # decides between equally frequent pairs. What is given here has its number before.
        special_tokens=[*_SPECIAL, *symbols],
    )
    # A word with a character that was left out is [UNK] as a whole: nothing to learn from.
    whole = ((word, count) for word, count in words.items() if characters.issuperset(word))
    inner.train_from_iterator((" ".join([word] * count) for word, count in whole), trainer=trainer)
    ids = inner.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    more = len(tokens) - len(_SPECIAL) - len(symbols)
    counted = (
        f"{len(tokens):,} tokens: {len(_SPECIAL)} special, {len(symbols):,} characters (alone and "
        f"inside words), {more:,} longer, of {words.total():,} words, {len(words):,} different"
    )
    if len(tokens) < vocab_size:
        notes.append(f"fewer than --vocab_size {vocab_size:,}: no other pair occurs twice")
    return tokens, [counted, *notes]


def _count_words(texts: Iterable[str], lowercase: bool) -> Counter[str]:
    """How often each word occurs that BERT's tokenizer would give to WordPiece."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    pieces: Counter[str] = Counter()
    for text in texts:
        # White space first, since punctuation need then be looked for once in each piece.
        pieces.update(normalizer.normalize_str(text).split())
    words: Counter[str] = Counter()
    for piece, count in pieces.items():
        for word, _ in splitter.pre_tokenize_str(piece):
            words[word] += count
    return words


def _alphabet(words: Counter[str], vocab_size: int) -> tuple[list[str], list[str]]:
    """The characters that have room, most frequent first: all alone, then as "##c", sorted."""
    alone: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in words.items():
        for character in word:
            alone[character] += count
        inside.update(word[1:])
    room = vocab_size - len(_SPECIAL)
    kept: set[str] = set()
    ranked = sorted(alone, key=lambda c: (-alone[c], c))
    for character in ranked:
        room -= 1 + (character in inside)
        if room < 0:
            break
        kept.add(character)
    least = len(_SPECIAL) + len(alone) + len(inside)
    if not kept:
        raise InputError(
            f"--vocab_size {vocab_size}: no room for characters; those of the text need {least:,}"
        )
    notes = []
    if len(kept) < len(alone):
        lost = sum(count for word, count in words.items() if not kept.issuperset(word))
        notes.append(
            f"--vocab_size {vocab_size:,} has no room for {len(alone) - len(kept):,} of the text's "
            f"{len(alone):,} characters, so {lost / words.total():.2%} of its words become [UNK]; "
            f"{least:,} would hold all"
        )
    return [*sorted(kept), *(f"##{c}" for c in sorted(kept & inside))], notes


def save_vocabulary(folder: Path, tokens: Sequence[str], *, lowercase: bool) -> None:
    """Write vocab.txt, tokenizer_config.json and tokenizer.json, as transformers opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in tokens))
    write_json(folder / "tokenizer_config.json", {"do_lower_case": lowercase})
    load_tokenizer(folder, vocab_size=len(tokens)).save_pretrained(folder)
