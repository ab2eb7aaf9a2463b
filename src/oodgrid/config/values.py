"""Values that no config can hold: other types, endless nesting, texts that no file can store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from oodgrid.counts import counted
from oodgrid.errors import OodgridError, brief, printable

MOST_VALUES = 20_000
MOST_CHARACTERS = 10_000  # of one text
MOST_TEXT = 300_000  # bytes of all texts
DEEPEST = 40
LARGEST = 2**63 - 1  # of a whole number in a table
KEYS = "a key is a text: write it in quotes (YAML reads on, off, yes, no as true or false)"


@dataclass(frozen=True)
class Wrong:
    """Stands in a config for a value that no config can hold, until whatever reads it says so."""

    mistake: str


def marked(raw: dict[str, Any], what: str) -> tuple[dict[str, Any], list[str]]:
    """Return a parsed config with every value that none can hold replaced by `Wrong`, and a line for each.

    Args:
        raw: Whatever a reader of YAML or JSON gives.
        what: What it is, as "config experiments/mine.yaml".

    Raises:
        OodgridError: It is too deep or too long to be looked through.
    """
    marker = _Marker(what)
    return marker.marked(raw, ""), marker.mistakes


class _Marker:
    def __init__(self, what: str) -> None:
        self.what, self.values, self.bytes = what, 0, 0
        self.mistakes: list[str] = []

    def marked(self, value: Any, place: str, depth: int = 0) -> Any:
        self.values += 1
        if depth > DEEPEST:
            raise OodgridError(f"{self.what}: nested deeper than {DEEPEST}, or a part that holds itself: take it out")
        self.bytes += sum(len(text.encode(errors="surrogatepass")) for text in _texts(value))
        for count, most, of in ((self.values, MOST_VALUES, "values"), (self.bytes, MOST_TEXT, "bytes of text")):
            if count > most:
                raise OodgridError(f"{self.what}: more than {most} {of}: write long lists in files of their own")
        dot = "." if place else ""
        if isinstance(value, list):
            return [self.marked(inner, f"{place}{dot}{number}", depth + 1) for number, inner in enumerate(value)]
        if isinstance(value, dict):
            sound = {key: inner for key, inner in value.items() if self._sound_key(key, place)}
            return {k: self.marked(inner, f"{place}{dot}{printable(k, 40)}", depth + 1) for k, inner in sound.items()}
        why = None if isinstance(value, Wrong) else _wrong(value)
        return value if why is None else self._refuse(place, why)

    def _sound_key(self, key: Any, place: str) -> bool:
        if isinstance(key, Wrong):  # has been reported
            return False
        why = _wrong(key) if isinstance(key, str) else KEYS
        if why:
            self._refuse(place, f"the key {brief(key)}: {why}")
        return not why

    def _refuse(self, place: str, why: str) -> Wrong:
        self.mistakes.append(f"{self.what}: {place}{': ' * bool(place)}{why}")
        return Wrong(self.mistakes[-1])


def _texts(value: Any) -> list[str]:
    """Return a text, or the keys of a mapping that are texts."""
    if isinstance(value, dict):
        return [key for key in value if isinstance(key, str)]
    return [value] if isinstance(value, str) else []


def _wrong(value: Any) -> str | None:
    """Return why no config can hold a value; None where it can."""
    if isinstance(value, str):
        return _wrong_text(value)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -LARGEST <= value <= LARGEST else f"{brief(value)} is too large: {LARGEST} is the most"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number to compute with: give a finite one"
    return f"{brief(value)} is read as {type(value).__name__}: write a text in quotes, a number, or a list"


def _wrong_text(text: str) -> str | None:
    if not text.strip():
        return "an empty text means nothing: take it out, or write what was meant"
    if len(text) > MOST_CHARACTERS:
        return f"a text of {counted(len(text), 'character')}: {MOST_CHARACTERS} at most"
    character = next((c for c in text if c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c <= "\udfff"), None)
    if character is None:
        return None
    mend = "; write it in one line, or with >- in place of > and |" if character == "\n" else ""
    return f"{brief(text)} holds the character U+{ord(character):04X}, which is no text: take it out{mend}"
