"""Texts out of distribution made of texts of classes: keywords changed for words of other classes, or words shuffled.

A word is a run of letters and digits with the marks on them, and what an apostrophe joins; in scripts that are written
without blanks (Chinese, Japanese, Thai and their kin) each character with its marks is one. What stands between words
(blanks, tabs, punctuation, emoji) stays. Words are the same whatever their case and their Unicode form.

The document of a class is all its texts of one draw. Of a word w that stands n times in the document of class c, and in
the documents of d of C classes,

    tf-idf(w, c) = n / N_c · ln(C / d),        N_c: how many words the document has.

Keywords of a text of class c are its words with the highest tf-idf above 0, of equal ones the first in the alphabet:
as many as `share` of its different words, rounded up. In place of a word stands one of the other documents
that the document of c has not, drawn by how often it stands there; everywhere in the text the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from oodgrid.config.pseudo_ood import PseudoOod

TRIES = 10
MOST_POOLS = 256  # of classes, that are held at once
DIGITS = 12  # of a tf-idf: what lies below depends on the machine, and would decide between equal ones
UNSPACED = (  # blocks of Unicode whose scripts have no blanks between words
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
WORD = re.compile("sm*|w(?:[wm]|j(?=w))*")  # of the kinds below
NO_WORD, NO_KEYWORD, NO_OTHER, NOTHING_LEFT, AS_ID = (
    "without a word",
    "without a word that tells its class from others",
    "whose class has every word of the others",
    "of which nothing is left",
    "of which no other text came out than there is",
)


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    """Return what a character is: w part of a word, s a word, m a mark on either, j what joins words, else a gap."""
    category = unicodedata.category(character)[0]
    if category in "LN":
        return "s" if any(first <= ord(character) <= last for first, last in UNSPACED) else "w"
    return "m" if category == "M" else "j" if character in "'’" else "g"


def spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end."""
    return [match.span() for match in WORD.finditer("".join(map(_kind, text)))]


def plain(word: str) -> str:
    """Return a word whatever its case and its Unicode form."""
    return unicodedata.normalize("NFC", word).casefold()


@dataclass(frozen=True)
class Passed:
    """Why nothing could be made of a text."""

    reason: str


@dataclass(frozen=True)
class _Text:
    """A text of a draw, cut into words.

    Attributes:
        gaps: What stands before each of its n words, and behind the last: n + 1 pieces.
        words: As they stand there.
        keys: `plain`.
    """

    gaps: tuple[str, ...]
    words: tuple[str, ...]
    keys: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> _Text:
        places = spans(text)
        edges = [0, *(edge for place in places for edge in place), len(text)]
        words = tuple(text[start:stop] for start, stop in places)
        gaps = tuple(text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))
        return cls(gaps, words, tuple(map(plain, words)))

    def joined(self, words: Sequence[str | None]) -> str:
        """Return the text with other words; a word that is left out takes blanks with it, those before it if it can."""
        parts, begun = [self.gaps[0]], bool(self.gaps[0].strip())
        for word, gap in zip(words, self.gaps[1:], strict=True):
            if word is not None:
                parts.append(word)
                begun = True
            elif begun:
                parts[-1] = parts[-1].rstrip()
            parts.append(gap if begun else gap.lstrip())
            begun = begun or bool(gap.strip())
        return "".join(parts)


class Draw:
    """The texts of one few-shot draw, of which texts out of distribution are made; no other text is seen."""

    def __init__(self, texts: Sequence[str], labels: Sequence[int], recipe: PseudoOod) -> None:
        """Cut the texts into words and count these by class."""
        self.recipe = recipe
        self._texts = [_Text.of(text) for text in texts]
        self._labels, self._raw = list(labels), list(texts)
        self._documents: dict[int, Counter[str]] = {}
        spelt: dict[str, Counter[str]] = {}
        for text, label in zip(self._texts, self._labels, strict=True):
            self._documents.setdefault(label, Counter()).update(text.keys)
            for key, word in zip(text.keys, text.words, strict=True):
                spelt.setdefault(key, Counter())[word] += 1
        self._spelt = {key: min(words, key=lambda word: (-words[word], word)) for key, words in spelt.items()}
        self._key = json.dumps(recipe.recipe, sort_keys=True)
        self._pools: dict[int, tuple[list[str], np.ndarray]] = {}

    def made(self, row: int, view: int = 0) -> str | Passed:
        """Return the text out of distribution that is made of a text, or why there is none.

        It depends on the texts and classes of the draw, the recipe and `view`, and not on the order of texts.
        """
        text, label = self._texts[row], self._labels[row]
        if not text.words:
            return Passed(NO_WORD)
        key = hashlib.sha256(f"{self._key}/{view}/{self._raw[row]}".encode("utf-8", "surrogateescape")).digest()
        random = np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64)))
        changed: list[str] = []
        if self.recipe.words != "none":
            changed = self._changed(text, label, random)
            if not changed:
                return Passed(NO_KEYWORD)
            if self.recipe.by == "other_classes" and not self._pool(label)[0]:
                return Passed(NO_OTHER)
        for _ in range(TRIES):
            words = self._words(text, label, changed, random)
            kept = [word for word in words if word is not None]
            if not kept:
                return Passed(NOTHING_LEFT)
            if tuple(map(plain, kept)) not in self._there:
                return text.joined(words)
        return Passed(AS_ID)

    def keywords(self, row: int) -> list[str]:
        """Return the keywords of a text, `plain`, the most telling first."""
        return self._keywords(self._texts[row], self._labels[row])

    def _keywords(self, text: _Text, label: int) -> list[str]:
        document, classes = self._documents[label], len(self._documents)
        size = document.total()
        weight = {
            key: round(document[key] / size * math.log(classes / self._spread[key]), DIGITS) for key in set(text.keys)
        }
        ranked = sorted((key for key in weight if weight[key] > 0), key=lambda key: (-weight[key], key))
        most = math.ceil(round(self.recipe.share * len(weight), DIGITS))  # .28 of 25 are 7, and in floats a bit more
        return ranked[:most]

    def _changed(self, text: _Text, label: int, random: np.random.Generator) -> list[str]:
        """Return the words that are to be changed: the keywords, or as many at random."""
        keywords = self._keywords(text, label)
        if self.recipe.words == "keywords":
            return keywords
        every = sorted(set(text.keys))
        return [every[place] for place in random.permutation(len(every))[: len(keywords)].tolist()]

    def _words(self, text: _Text, label: int, changed: list[str], random: np.random.Generator) -> list[str | None]:
        """Return the words of the text that is made, None where one is left out."""
        words: list[str | None] = list(text.words)
        if changed:
            by = self._replacements(label, changed, random)
            words = [by.get(key, word) for key, word in zip(text.keys, text.words, strict=True)]
        if self.recipe.shuffle:
            places = [place for place, word in enumerate(words) if word is not None]
            shuffled = [words[places[other]] for other in random.permutation(len(places)).tolist()]
            for place, word in zip(places, shuffled, strict=True):
                words[place] = word
        return words

    def _replacements(self, label: int, changed: list[str], random: np.random.Generator) -> dict[str, str | None]:
        if self.recipe.by == "nothing":
            return dict.fromkeys(changed)
        others, sums = self._pool(label)
        drawn = np.searchsorted(sums, random.integers(sums[-1], size=len(changed)), side="right")
        return {key: self._spelt[others[place]] for key, place in zip(sorted(changed), drawn.tolist(), strict=True)}

    def _pool(self, label: int) -> tuple[list[str], np.ndarray]:
        """Return the words of other classes that a class has not, in order, and the running sums of their counts."""
        if label not in self._pools:
            own = self._documents[label]
            others = [key for key in self._alphabet if key not in own]
            if len(self._pools) >= MOST_POOLS:  # each has as many words as there are
                self._pools.clear()
            self._pools[label] = others, np.cumsum([self._total[key] for key in others])
        return self._pools[label]

    @cached_property
    def _total(self) -> Counter[str]:
        """How often each word stands in all documents."""
        return sum(self._documents.values(), Counter())

    @cached_property
    def _alphabet(self) -> list[str]:
        """All words, in order."""
        return sorted(self._total)

    @cached_property
    def _spread(self) -> Counter[str]:
        """In the documents of how many classes each word stands."""
        return Counter(key for document in self._documents.values() for key in document)

    @cached_property
    def _there(self) -> set[tuple[str, ...]]:
        """The texts of the draw, which nothing that is out of distribution may be."""
        return {text.keys for text in self._texts}
