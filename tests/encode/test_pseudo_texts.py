"""Pseudo-OOD texts: what a word is, keywords by tf-idf against loops, and what must hold of every text that is made."""

from __future__ import annotations

import math
import unicodedata

import numpy as np
import pytest

from oodgrid.config import PseudoOod
from oodgrid.encode.pseudo_texts import AS_ID, NO_KEYWORD, NO_OTHER, NO_WORD, NOTHING_LEFT, Draw, Passed, plain, spans

RECIPES = [
    {},
    {"share": 0.2},
    {"share": 1.0, "shuffle": True},
    {"words": "random"},
    {"words": "none", "shuffle": True},
    {"by": "nothing"},
]
WORDS = [f"{a}{b}" for a in ("pay", "rain", "song", "Éte", "don't ", "🙂", "x\t") for b in "abcdef"]


def words(text):
    return [text[start:stop] for start, stop in spans(text)]


def keys(text):
    return [plain(word) for word in words(text)]


def between(text):
    """What stands between the words of a text."""
    return [c for c in text if unicodedata.category(c)[0] in "SPZC" and c not in "'’"]


def draw_of(seed):
    """Texts of three classes, each with words of its own, of all classes, and of some."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for label in range(3):
        own = rng.choice(WORDS, 6)
        for _ in range(rng.integers(1, 5)):
            texts.append(" ".join(rng.choice([*own, "the", "to", *rng.choice(WORDS, 2)], rng.integers(1, 9))) + "?")
            labels.append(label)
    return texts, labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Play  some\tmusic, please!", ["Play", "some", "music", "please"]),
        ("don't 'quote' it’s", ["don't", "quote", "it’s"]),
        ("a 🙂👩‍👩‍👧 b ❤️", ["a", "b"]),
        ("$25 at 4:30 p.m.", ["25", "at", "4", "30", "p", "m"]),
        ("हिन्दी में cafe\u0301", ["हिन्दी", "में", "cafe\u0301"]),
        ("请转账 now", ["请", "转", "账", "now"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("🙂 … !?", []),
        ("", []),
    ],
)
def test_what_a_word_is(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("seed", range(5))
def test_keywords_go_by_tf_idf(seed):
    texts, labels = draw_of(seed)
    draw = Draw(texts, labels, PseudoOod(share=0.5))
    documents = {
        c: [k for t, label in zip(texts, labels, strict=True) if label == c for k in keys(t)] for c in range(3)
    }
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        weights = {}
        for key in set(keys(text)):
            spread = sum(key in document for document in documents.values())
            weights[key] = documents[label].count(key) / len(documents[label]) * math.log(3 / spread)
        ranked = sorted((key for key in weights if weights[key] > 1e-9), key=lambda key: (-round(weights[key], 9), key))
        assert draw.keywords(row) == ranked[: math.ceil(len(weights) / 2)]


@pytest.mark.parametrize("changes", RECIPES)
def test_what_holds_of_every_text_that_is_made(changes):
    recipe, made = PseudoOod(**changes), 0
    for seed in range(8):
        texts, labels = draw_of(seed)
        draw, known = Draw(texts, labels, recipe), {tuple(keys(text)) for text in texts}
        for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
            outcome = draw.made(row)
            if isinstance(outcome, Passed):
                continue
            made += 1
            own = {key for t, of in zip(texts, labels, strict=True) if of == label for key in keys(t)}
            others = {key for t, of in zip(texts, labels, strict=True) if of != label for key in keys(t)} - own
            before, after = keys(text), keys(outcome)
            assert tuple(after) not in known
            assert set(after) <= set(before) | others
            if recipe.words == "none":
                assert sorted(after) == sorted(before)
            elif recipe.by == "nothing":
                assert len(after) < len(before)
                assert "  " not in outcome
            else:
                assert len(after) == len(before)
                gone = set(before) - set(after)
                assert len(gone) == len(draw.keywords(row)) <= math.ceil(recipe.share * len(set(before)))
            if recipe.words == "keywords":
                assert not set(draw.keywords(row)) & set(after)
            if recipe.by != "nothing" and not recipe.shuffle:
                assert between(outcome) == between(text)
    assert made > 40


@pytest.mark.parametrize("changes", RECIPES)
def test_a_text_is_the_same_in_any_order_and_another_by_seed_and_view(changes):
    texts, labels = draw_of(3)
    whole = Draw(texts, labels, PseudoOod(**changes))
    order = np.random.default_rng(0).permutation(len(texts))
    turned = Draw([texts[row] for row in order], [(labels[row] + 1) % 3 for row in order], PseudoOod(**changes))
    for place, row in enumerate(order):
        for view in range(2):
            assert turned.made(place, view) == whole.made(row, view)
    others = Draw(texts, labels, PseudoOod(**changes, seed=1))
    if changes.get("by") != "nothing":
        rows = range(len(texts))
        assert [whole.made(row) for row in rows] != [whole.made(row, 1) for row in rows]
        assert [whole.made(row) for row in rows] != [others.made(row) for row in rows]


def test_a_text_is_the_same_on_every_machine():
    texts = ["transfer money to my bank", "play the next song please", "will it rain in my town"]
    made = [Draw(texts, [0, 1, 2], PseudoOod(**changes)).made(0) for changes in RECIPES]
    assert made == [
        "transfer play town my song",
        "transfer money to my next",
        "please song in town next",
        "in money rain my please",
        "my to transfer bank money",
        "transfer my",
    ]


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        ("🙂 \t!", {}, NO_WORD),
        ("the to", {}, NO_KEYWORD),
        ("the to", {"words": "random"}, NO_KEYWORD),
        ("own", {"by": "nothing"}, NOTHING_LEFT),
        ("yes yes", {"words": "none", "shuffle": True}, AS_ID),
        ("hello", {"words": "none", "shuffle": True}, AS_ID),
    ],
)
def test_of_some_texts_nothing_can_be_made(text, changes, reason):
    texts = [text, "the to own", "the other to"]
    assert Draw(texts, [0, 0, 1], PseudoOod(**changes)).made(0) == Passed(reason)


def test_a_class_that_has_every_word_of_the_others_takes_none_from_them():
    draw = Draw(["all of the others", "the others"], [0, 1], PseudoOod())
    assert draw.made(0) == Passed(NO_OTHER)
    assert draw.made(1) == Passed(NO_KEYWORD)


def test_a_long_text_and_one_of_one_word():
    texts = ["word " * 2000 + "alpha", "beta", "gamma delta"]
    draw = Draw(texts, [0, 1, 2], PseudoOod(share=1.0))
    assert len(words(draw.made(0))) == 2001
    assert draw.made(1) in ("word", "alpha", "gamma", "delta")


@pytest.mark.parametrize(("share", "words", "most"), [(0.28, 25, 7), (0.14, 50, 7), (0.56, 25, 14), (0.3, 25, 8)])
def test_a_share_is_rounded_up_and_its_float_is_not(share, words, most):
    texts = [" ".join(f"w{number}" for number in range(words)), "other"]
    assert len(Draw(texts, [0, 1], PseudoOod(share=share)).keywords(0)) == most
