"""Whether a text tower sees texts whole, and apart: tokenizers cut what is too long without a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.backbones import LoadedBackbone

MARKS = 4  # places that start, end, class and separator may take beside the words
ROWS = 4096  # texts at a time


def cut_rows(loaded: LoadedBackbone, texts: Sequence[str]) -> list[int]:
    """Return the rows of those texts that the tokenizer cuts, because they are longer than the text tower.

    A text is cut if given a few places more, more of it comes. Whatever the tokenizer puts around and behind the words
    stands in the empty text too, and does not count.
    """
    return [
        start + row
        for start in range(0, len(texts), ROWS)
        for row in _cut_rows(loaded, list(texts[start : start + ROWS]))
    ]


def _cut_rows(loaded: LoadedBackbone, texts: list[str]) -> list[int]:
    *short, empty = loaded.tokenizer([*texts, ""]).tolist()
    places, marks = len(empty), set(empty)
    said = [[token for token in row if token not in marks] for row in short]
    rows = [row for row, tokens in enumerate(said) if len(tokens) >= places - MARKS]
    if not rows:
        return []
    longer = loaded.tokenizer([texts[row] for row in rows], context_length=places + MARKS + 1).tolist()
    return [row for row, more in zip(rows, longer, strict=True) if [t for t in more if t not in marks] != said[row]]


def refuse_classes(loaded: LoadedBackbone, names: Sequence[str], texts: Sequence[str]) -> None:
    """Refuse classes that a text tower would not see whole, or would not see apart.

    Args:
        loaded: The backbone.
        names: K class names.
        texts: K prompts, one a class.

    Raises:
        OodgridError: A prompt is cut, or two are the same tokens.
    """
    if cut := cut_rows(loaded, texts):
        places = loaded.tokenizer([""]).shape[1]
        raise OodgridError(
            f"{len(cut)} of {len(names)} class names are too long for the {places} tokens of the text tower of "
            f"{loaded.name} (start and end included), the first: {_shown(names[cut[0]])} in {_shown(texts[cut[0]])}: "
            "shorten names or template"
        )
    first: dict[tuple[int, ...], int] = {}
    for row, tokens in enumerate(loaded.tokenize(list(texts)).tolist()):
        other = first.setdefault(tuple(tokens), row)
        if other != row:
            raise OodgridError(
                f"the classes {_shown(names[other])} and {_shown(names[row])} are one text to {loaded.name}, whose "
                "tokenizer sees no difference: rename one, or make them one class"
            )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:40]}…{text[-15:]}")
