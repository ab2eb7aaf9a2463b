"""Words that a backbone never saw in training, found without torch.

The weights that oodgrid ships hold the embeddings of the few tokens that they were trained on. Which tokens a word has
is decided by CLIP's byte pair encoding (Sennrich et al. 2016), whose merges come with open_clip; its own tokenizer
cannot be imported without torch.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from oodgrid import catalogue
from oodgrid.config import Backbone
from oodgrid.counts import plural, some
from oodgrid.errors import OodgridError

MERGES = 49152 - 256 - 2  # that CLIP takes of the file
WORD = r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
END = "</w>"  # behind the last token of a word


def check_words(backbone: Backbone, texts: Iterable[str], whose: str) -> None:
    """Refuse texts with words that a backbone never saw, if its weights say which it saw and open_clip is there.

    Raises:
        OodgridError: There are such words; the line names them.
    """
    merges = _merges_file()
    if not backbone.pretrained.startswith(catalogue.PACKAGE) or backbone.weights_file is None or merges is None:
        return
    vocabulary, places = _vocabulary(backbone.weights_file), _places(backbone)
    if words := unseen_words(texts, vocabulary, places):
        raise never_saw(backbone.name, words, whose)


def never_saw(backbone_name: str, words: Collection[str], whose: str) -> OodgridError:
    """Return the error for words that a backbone never saw, of some texts."""
    return OodgridError(
        f"backbone {backbone_name} never saw the {plural(len(words), 'word')} {some(map(repr, words))} of {whose} in "
        "training: use other words or another backbone, or, for the classes of a dataset, text: visual_prototypes"
    )


def unseen_words(texts: Iterable[str], vocabulary: frozenset[int], places: int) -> list[str]:
    """Return the words of some texts that have a token outside a vocabulary, each once.

    Args:
        texts: Any texts.
        vocabulary: Ids of the tokens that were trained.
        places: Tokens that the text tower takes; what is behind them is cut.
    """
    ids = _ids()
    unseen: dict[str, None] = {}
    for text in texts:
        left = places - 2  # without start and end
        for word in _words(text):
            tokens = [ids[token] for token in _encoded(word)][: max(0, left)]
            left -= len(tokens)
            if not vocabulary.issuperset(tokens):
                unseen.setdefault(word)
    return list(unseen)


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case, as CLIP's tokenizer sees them."""
    import ftfy
    import regex  # type: ignore[import-untyped]

    text = text if text.isascii() else ftfy.fix_text(text)
    text = html.unescape(html.unescape(text)).lower()
    yield from (match.group() for match in regex.finditer(WORD, text, regex.IGNORECASE))


@cache
def _encoded(word: str) -> tuple[str, ...]:
    """Return the tokens of a word: of its neighbouring symbols, those whose merge ranks first become one, and again."""
    if word in ("<start_of_text>", "<end_of_text>"):
        return (word,)
    letters, ranks = _letters(), _ranks()
    symbols = [letters[byte] for byte in word.encode("utf-8")]
    symbols[-1] += END
    while len(symbols) > 1:
        first = min(pairwise(symbols), key=lambda pair: ranks.get(pair, len(ranks)))
        if first not in ranks:
            break
        merged: list[str] = []
        for symbol in symbols:
            if merged and (merged[-1], symbol) == first:
                merged[-1] += symbol
            else:
                merged.append(symbol)
        symbols = merged
    return tuple(symbols)


@cache
def _letters() -> dict[int, str]:
    """Return the letter that stands for each byte: itself where it is printable, else one from 256 on."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {byte: chr(256 + number) for number, byte in enumerate(others)}


@cache
def _ranks() -> dict[tuple[str, ...], int]:
    file = _merges_file()
    assert file is not None  # who asks has seen it
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    return {tuple(line.split()): rank for rank, line in enumerate(lines)}


@cache
def _ids() -> dict[str, int]:
    letters = list(_letters().values())
    merged = ["".join(pair) for pair in _ranks()]
    tokens = [*letters, *(letter + END for letter in letters), *merged, "<start_of_text>", "<end_of_text>"]
    return {token: number for number, token in enumerate(tokens)}


@cache
def _vocabulary(weights: Path) -> frozenset[int]:
    """Return the ids of the tokens whose embeddings a file of the package holds."""
    from safetensors import safe_open

    with safe_open(weights, "np") as file:
        return frozenset(file.get_tensor("token_embedding.ids").tolist())


def _places(backbone: Backbone) -> int:
    if not backbone.model_config_file:
        return 77
    described = json.loads(catalogue.packaged(backbone.model_config_file).read_text(encoding="utf-8"))
    return int(described["text_cfg"]["context_length"])


def _merges_file() -> Path | None:
    """Return the file of merges that comes with open_clip; None where that is not installed."""
    spec = find_spec("open_clip")
    file = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz" if spec and spec.origin else None
    return file if file and file.is_file() else None
