"""Which words a backbone never saw, told without torch as its tokenizer tells it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from oodgrid import catalogue
from oodgrid.backbones import words
from oodgrid.config import Backbone, build
from oodgrid.errors import OodgridError

TINY = {"name": "tiny", **catalogue.entry("backbone", "tiny")}
open_clip = pytest.importorskip("open_clip")
PIECES = [
    *("red", "star", "hexagon", "cyan", "it", "itap", "crow", "Owl", "chec", "checkered", "cluttered", "art", "A"),
    *(
        "naïve",
        "ß",
        "犬",
        "5",
        "²",
        "½",
        "Ⅳ",
        "e\u0301",
        "🦊",
        "’s",
        "'s",
        "&amp;",
        "_",
        "-",
        ",",
        ".",
        "<end_of_text>",
    ),
]


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        parts = rng.choice(PIECES, rng.integers(0, 12))
        yield "".join(part + " " * int(rng.integers(0, 2)) for part in parts)


def failure(action):
    try:
        action()
    except OodgridError as error:
        return str(error)
    return None


def test_tokens_are_those_of_open_clip():
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    for text in [*texts(500), "a photo of the antidisestablishmentarianism of llanfairpwllgwyngyll"]:
        ids = [words._ids()[token] for word in words._words(text) for token in words._encoded(word)]
        assert ids == tokenizer.encode(open_clip.tokenizer._clean_lower(text)), text


def test_the_tiny_clip_refuses_the_same_texts_with_all_their_words():
    from oodgrid import backbones

    tiny = build(Backbone, **TINY)
    loaded = backbones.load(tiny)
    refused = 0
    for text in texts(200, 1):
        answers = [failure(lambda text=text: loaded.tokenize([text])),
                   failure(lambda text=text: words.check_words(tiny, [text], repr(text)))]  # fmt: skip
        assert answers[0] == answers[1], text
        refused += answers[0] is not None
    assert 20 < refused < 190
    with pytest.raises(OodgridError, match="never saw the words 'crow', 'owl', 'sea' of 'a crow' and other texts"):
        loaded.tokenize(["a red star", "a crow", "owl", "a star crow", "Sea owl"])


def test_no_torch_is_imported():
    code = (
        "import sys; from oodgrid.backbones import words; from oodgrid.config import Backbone, build\n"
        f"try: words.check_words(build(Backbone, **{TINY}), ['a crow'], 'x')\n"
        "except Exception as error: print(error)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'crow'" in done.stdout


def test_of_other_backbones_nothing_is_known():
    words.check_words(build(Backbone, name="b", model="ViT-B-32-quickgelu", pretrained="openai"), ["xyzzy"], "x")
