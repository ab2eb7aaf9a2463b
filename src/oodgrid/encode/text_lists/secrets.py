"""Checking whether a text repeats a key: as it is, in part, or written in another way."""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

PART = 6  # letters and digits of a key in a row: fewer come by chance
SECRET = 8  # characters: shorter keys are words that local servers take, as "none"
TOKEN = re.compile(r"[A-Za-z0-9+/_-]{8,}")


def repeats(text: str, key: str | None) -> bool:
    """Return whether a text holds a key or a part of it: plain, escaped, spaced out, backwards, in base64 or hex."""
    if not key:
        return False
    if len(key) < SECRET:
        return re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text) is not None
    plain_key = _plain(key)
    parts = {plain_key[start : start + PART] for start in range(max(1, len(plain_key) - PART + 1))}
    return any(part in reading for reading in map(_plain, _readings(text)) for part in parts)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _readings(text: str) -> Iterator[str]:
    """Yield a text as it may be meant."""
    yield text
    yield text[::-1]
    yield html.unescape(unquote(text))
    yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    for token in TOKEN.findall(text):
        # the first characters of what was encoded may lie before the key, so every beginning of four is tried
        for start in range(4):
            cut = token[start : len(token) - (len(token) - start) % 4].translate(str.maketrans("-_", "+/"))
            try:
                yield base64.b64decode(cut).decode("latin-1")
            except binascii.Error:
                continue
        if len(token) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", token):
            yield bytes.fromhex(token).decode("latin-1")
