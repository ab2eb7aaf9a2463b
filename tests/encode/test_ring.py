"""Batches are memory that is used over and over: nothing of an earlier one may be seen in a later one."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import backbones
from oodgrid.config import Backbone
from oodgrid.encode import pipeline
from oodgrid.encode.ring import Ring
from oodgrid.encode.sources.unseen import open_images
from oodgrid.encode.work import Work
from oodgrid.errors import OodgridError

torch = pytest.importorskip("torch")
BROKEN = {3, 4, 17}


@pytest.mark.parametrize("as_bytes", [False, True])
def test_skipped_places_and_the_rest_of_a_short_batch_are_zeros(untrained, monkeypatch, as_bytes):
    loaded = backbones.load(Backbone(**untrained))
    pictures = [np.random.default_rng(row).integers(1, 256, (40, 50, 3), dtype=np.uint8) for row in range(31)]
    work = Work(loaded, open_images(pictures), skip=True)
    work.as_bytes = as_bytes
    plain = work.preprocessor("reference", False)

    def prepare(row, source):
        if row in BROKEN:
            raise OodgridError("broken")
        return plain(row, source)

    work.prepare = prepare
    seen, taken, take = [], [], Ring.take
    monkeypatch.setattr(pipeline, "BATCH", {"cpu": 2})
    monkeypatch.setattr(pipeline, "_scaled", lambda work, pixels: (seen.append(pixels.clone()), pixels.float())[1])
    monkeypatch.setattr(Ring, "take", lambda ring: (taken.append(take(ring)), taken[-1])[1])
    list(pipeline.encoded(work, [0], ""))
    assert len({slots.data_ptr() for slots in taken}) <= pipeline.BATCHES_AHEAD + 3 < len(taken)
    assert seen[0].dtype == (torch.uint8 if as_bytes else torch.float32)
    rows = torch.cat(seen)
    assert len(rows) == 32
    for row, pixels in enumerate(rows):
        expected = torch.zeros_like(pixels) if row in BROKEN or row == 31 else plain(row, pictures[row])
        assert torch.equal(pixels, expected)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_batch_that_is_given_back_is_taken_again(as_bytes):
    ring = Ring(4, (3, 8, 6), as_bytes=as_bytes, pinned=False)
    one, other = ring.take(), ring.take()
    assert one.shape == (4, 3, 8, 6) and one.data_ptr() != other.data_ptr()
    ring.give_back(one)
    assert ring.take().data_ptr() == one.data_ptr()
    with torch.inference_mode():
        slots = ring.take()
    slots[0].copy_(torch.ones(3, 8, 6))  # as a decoding thread does, which is in no such mode
