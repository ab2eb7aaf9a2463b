"""Texts that a tokenizer cuts, or takes for one another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from oodgrid import backbones
from oodgrid.backbones.tokens import cut_rows, refuse_classes
from oodgrid.config import Backbone
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")


class Words:
    """A tokenizer of words by number, as those of Hugging Face pad, mark and cut in their several ways."""

    def __init__(self, places, start=(), end=(), pad=0, last=(), left=False):
        self.context_length, self.start, self.end, self.pad = places, list(start), list(end), pad
        self.last, self.left = list(last), left

    def __call__(self, texts, context_length=None):
        places, rows = context_length or self.context_length, []
        for text in texts:
            words = [100 + sum(map(ord, word)) for word in text.lower().split()]
            room = places - len(self.start) - len(self.end) - len(self.last)
            row = [*self.start, *words[:room], *self.end]
            padding = [self.pad] * (places - len(row) - len(self.last))
            rows.append([*padding, *row, *self.last] if self.left else [*row, *padding, *self.last])
        return torch.tensor(rows)


TOKENIZERS = {
    "bert": Words(12, start=[1], end=[2]),
    "siglip": Words(12, end=[1], pad=1),  # the end token pads too
    "t5": Words(12),
    "clips": Words(12, start=[1], end=[2], last=[3]),
    "left": Words(12, start=[1], end=[2], left=True),
}


def loaded_of(tokenizer):
    return SimpleNamespace(name="b", text_tokenizer=tokenizer, tokenize=tokenizer)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
def test_what_does_not_fit_is_found_to_the_word(tokenizer):
    room = tokenizer.context_length - len(tokenizer.start) - len(tokenizer.end) - len(tokenizer.last)
    texts = [" ".join(["word"] * count) for count in (0, 1, room - 1, room, room + 1, room + 2, 500)]
    assert cut_rows(loaded_of(tokenizer), texts) == [4, 5, 6]


@pytest.mark.parametrize("places", [7, 16, 20, 64, 77, 128])
def test_open_clips_own_tokenizer_at_any_length(places):
    loaded = loaded_of(open_clip.tokenizer.SimpleTokenizer(context_length=places))
    texts = [" ".join(["word"] * count) for count in (1, places - 3, places - 2, places - 1, places, 300)]
    assert cut_rows(loaded, texts) == [3, 4, 5]
    assert cut_rows(loaded, []) == []


def test_class_names_that_are_cut_are_refused():
    long = "a " * 30 + "cat"
    with pytest.raises(OodgridError, match=r"1 of 2 class names is too long for the 20 tokens .* shorten names"):
        refuse_classes(loaded_of(open_clip.get_tokenizer("ViT-B-32", context_length=20)), ["dog", long], ["dog", long])


@pytest.mark.parametrize("pair", [("cat", "cat"), ("Cat", "cat"), ("sea  lion", "sea lion"), ("&amp;", "&")])
def test_classes_that_are_one_text_are_refused(pair):
    loaded = loaded_of(open_clip.tokenizer.SimpleTokenizer())
    with pytest.raises(OodgridError, match=r"the classes .* and .* are one text to b"):
        refuse_classes(loaded, ["dog", *pair], [f"a photo of a {name}." for name in ["dog", *pair]])


def test_a_name_may_stand_for_two_classes_that_are_known_by_more():
    """As in OpenAI's list for ImageNet, which has 'missile' and 'sunglasses' twice."""
    loaded = loaded_of(open_clip.tokenizer.SimpleTokenizer())
    refuse_classes(loaded, ["cat", "dog", "cat"], ["cat.", "dog.", "cat."], twice=True)
    with pytest.raises(OodgridError, match="are one text to b"):
        refuse_classes(loaded, ["cat", "dog", "Cat"], ["cat.", "dog.", "Cat."], twice=True)


def test_a_text_that_is_no_unicode_is_one_line(untrained):
    with pytest.raises(OodgridError, match=r"the text 'caf\\udcff' is no Unicode"):
        backbones.load(Backbone(**untrained)).tokenize(["caf\udcff"])
