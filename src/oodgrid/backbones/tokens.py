"""Whether a text tower sees texts whole, and as different ones: tokenizers cut long texts without a warning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.backbones import LoadedBackbone

MARKS = 4  # tokens of start, end, class and separator that there may be beside the words
ROWS = 4096  # texts at a time


def cut_rows(loaded: LoadedBackbone, texts: Sequence[str]) -> list[int]:
    """Return the rows of the texts that the tokenizer cuts, because they are longer than the text tower takes.

    A text is cut if a tokenizer with a few places more returns more of it. Start, end and padding tokens are those of
    the empty text, and do not count.
    """
    return [
        start + row
        for start in range(0, len(texts), ROWS)
        for row in _cut_rows(loaded, list(texts[start : start + ROWS]))
    ]


def places_of(loaded: LoadedBackbone) -> int:
    """Return how many tokens the text tower takes of a text."""
    tokenizer = loaded.text_tokenizer
    return getattr(tokenizer, "max_length", None) or tokenizer([""]).shape[1]  # open_clip's fill all places


def _cut_rows(loaded: LoadedBackbone, texts: list[str]) -> list[int]:
    *padded, empty = loaded.text_tokenizer([*texts, ""]).tolist()
    places, marks = places_of(loaded), set(empty)
    words = [[token for token in row if token not in marks] for row in padded]
    rows = [row for row, tokens in enumerate(words) if len(tokens) >= places - MARKS]  # the others are short enough
    if not rows:
        return []
    longer = loaded.text_tokenizer([texts[row] for row in rows], context_length=places + MARKS + 1).tolist()
    return [row for row, more in zip(rows, longer, strict=True) if [t for t in more if t not in marks] != words[row]]


def refuse_classes(loaded: LoadedBackbone, names: Sequence[str], texts: Sequence[str], twice: bool = False) -> None:
    """Refuse classes that a text tower would not see whole, or two that it could not tell apart.

    Args:
        loaded: The backbone.
        names: K class names.
        texts: K prompts, one per class.
        twice: Whether one name may stand for two classes, as in the published list of ImageNet's.

    Raises:
        OodgridError: A prompt is cut, or two are the same tokens.
    """
    if cut := cut_rows(loaded, texts):
        raise OodgridError(
            f"{len(cut):,} of {counted(len(names), 'class name')} {plural(len(cut), 'is', 'are')} too long for "
            f"the {places_of(loaded)} tokens of the text tower of "
            f"{loaded.name} (start and end included), the first: {_shown(names[cut[0]])} in {_shown(texts[cut[0]])}: "
            "shorten names or template"
        )
    first: dict[tuple[int, ...], int] = {}
    for row, tokens in enumerate(loaded.tokenize(list(texts)).tolist()):
        other = first.setdefault(tuple(tokens), row)
        if other != row and not (twice and names[other] == names[row]):
            raise OodgridError(
                f"the classes {_shown(names[other])} and {_shown(names[row])} are one text to {loaded.name}, whose "
                "tokenizer sees no difference: rename one, or make them one class"
            )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:40]}…{text[-15:]}")
