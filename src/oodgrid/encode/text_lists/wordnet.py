"""WordNet's nouns and adjectives by lexicographer file, as NegLabel and CSP take them for candidates.

Two forms are read: NegLabel's, a folder of word lists (`noun.act.txt`, one word a line), and WordNet's own database
files `data.noun` and `data.adj` (format: wndb(5WN); numbers of the lexicographer files: lexnames(5WN)), as Debian's
wordnet-base and NLTK's corpora/wordnet have them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from oodgrid.config import Lexicographer, expand
from oodgrid.config.label_list import DATABASE
from oodgrid.encode.lines import existing, read_lines
from oodgrid.encode.text_lists.tables import TextTable
from oodgrid.errors import OodgridError, unknown

KINDS = {"noun": "noun", "adj": "adjective"}
NOUNS = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time"
)
LEXNAMES = {0: "adj.all", 1: "adj.pert", 44: "adj.ppl"} | {
    number: f"noun.{name}" for number, name in enumerate(NOUNS.split(), start=3)
}
MARKERS = ("(a)", "(p)", "(ip)")  # behind an adjective: where in a sentence it may stand
# CSP (Chen et al., NeurIPS 2024): what an adjective is joined with; class_names.py of MengyuanChen21/NeurIPS2024-CSP.
SUPERCLASSES = (
    "environment", "space", "object", "scene", "place", "item", "area", "view", "thing", "pattern", "structure",
    "landscape", "vista", "creature",
)  # fmt: skip


def read_lexicographer(source: Lexicographer) -> TextTable:
    """Return the words of the lexicographer files that are asked for, in that order, each once.

    Of a word that is in several, the first counts, and so its kind. With `pool: csp` every adjective is joined with a
    superclass that is drawn for it (Chen et al., NeurIPS 2024, section 4; as the official code draws: `random.choice`).

    Raises:
        OodgridError: The folder is missing or of neither form, or a lexname is not there.
    """
    folder = expand(source.folder)
    words_of = _word_lists(folder) or _database(folder)
    kind_of: dict[str, str] = {}
    for name in _lexnames(source, words_of):
        for word in words_of[name]:
            kind_of.setdefault(word, KINDS[name.split(".")[0]])
    words, kinds = list(kind_of), list(kind_of.values())
    return TextTable(_conjugated(words, kinds, source.seed) if source.pool else words, kinds)


def _lexnames(source: Lexicographer, words_of: dict[str, list[str]]) -> list[str]:
    for name in [*(source.lexnames or ()), *source.without]:
        if name not in words_of:
            raise unknown(f"lexname in {source.folder}", name, words_of)
    return [name for name in source.lexnames or sorted(words_of) if name not in source.without]


def _conjugated(words: list[str], kinds: list[str], seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        f"{word} {draw.choice(SUPERCLASSES)}" if kind == "adjective" else word
        for word, kind in zip(words, kinds, strict=True)
    ]


def _word_lists(folder: Path) -> dict[str, list[str]]:
    """Return the words by lexname of a folder of word lists; nothing where there is none."""
    files = sorted(file for kind in KINDS for file in folder.glob(f"{kind}.*.txt"))
    return {file.stem: [_word(line) for line in read_lines(file) if line.strip()] for file in files}


def _database(folder: Path) -> dict[str, list[str]]:
    """Return the words by lexname of WordNet's database files."""
    if not folder.is_dir():
        raise OodgridError(f"folder {folder} does not exist: mend the path")
    if not any((folder / name).is_file() for name in DATABASE.values()):
        raise OodgridError(
            f"{folder} holds no WordNet: neither word lists as noun.act.txt nor {' and '.join(DATABASE.values())} "
            "(in Debian's wordnet-base: /usr/share/wordnet)"
        )
    words_of: dict[str, list[str]] = {}
    for name in DATABASE.values():
        for number, words in _synsets(existing(folder / name)):
            words_of.setdefault(LEXNAMES[number], []).extend(words)
    return words_of


def _synsets(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the lexicographer file and the words of every synset of a database file.

    A line: offset, lexicographer file (decimal), kind, number of words (hexadecimal), then words with their ids.
    """
    for line in read_lines(file):
        if not line or line.startswith("  "):  # the licence stands above, indented
            continue
        try:
            _, lexicographer, _, count, *rest = line.split(" ")
            words = [_word(word) for word in rest[: 2 * int(count, 16) : 2]]
            if not words or int(lexicographer) not in LEXNAMES:
                raise ValueError
        except ValueError as error:
            raise OodgridError(f"{file} is no WordNet database file: it holds {line[:40]!r}") from error
        yield int(lexicographer), words


def _word(text: str) -> str:
    for marker in MARKERS:
        text = text.removesuffix(marker)
    return text.replace("_", " ").strip()
