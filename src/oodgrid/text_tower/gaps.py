"""Prompts in which a vector stands in place of one token: the last of the word, as textual inversion has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError, Skip

if TYPE_CHECKING:
    from oodgrid.backbones import LoadedBackbone

Filled = Callable[[Any], Any]  # of tensors: vectors (B, W), one for each prompt: unit features (B, D)


@dataclass(frozen=True, eq=False)
class Gapped:
    """M prompts, each with the place of the token that a vector replaces.

    Attributes:
        ids: Of each prompt, up to its end token where the tower knows one.
        gaps: The place of that token in each.
    """

    ids: list[list[int]]
    gaps: list[int]

    def __len__(self) -> int:
        """Return the number of prompts M."""
        return len(self.ids)

    def by_shape(self, rows: Sequence[int]) -> dict[tuple[int, int], list[int]]:
        """Return, by the tokens before and after the gap, which of some prompts have so many."""
        groups: dict[tuple[int, int], list[int]] = {}
        for place, row in enumerate(rows):
            gap = self.gaps[row]
            groups.setdefault((gap, len(self.ids[row]) - gap - 1), []).append(place)
        return groups


def prompts_of(loaded: LoadedBackbone, template: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a template with each word, and the same cut behind the word.

    Raises:
        Skip: The text tower cuts one, has no token for it, or never saw one.
    """
    from oodgrid.backbones.tokens import cut_rows, places_of

    plain = [word.replace("_", " ") for word in words]
    heads = [template.partition("{}")[0] + word for word in plain]
    texts = [head + template.partition("{}")[2] for head in heads]
    try:
        loaded.tokenize(texts)
    except OodgridError as error:
        raise Skip(str(error)) from error
    if cut := cut_rows(loaded, texts):
        raise Skip(
            f"{counted(len(cut), 'prompt')} of negative texts, the first {texts[cut[0]]!r}, "
            f"{plural(len(cut), 'is', 'are')} too long for the {places_of(loaded)} tokens of the text tower of "
            f"{loaded.name}"
        )
    return texts, heads
