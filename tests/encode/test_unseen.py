"""Images of no dataset: what may be given, and what might mean two things."""

import numpy as np
import pytest
from PIL import Image

from oodgrid.encode.sources.unseen import open_images
from oodgrid.errors import OodgridError
from tests.failing import failure

GREY, COLOUR = np.zeros((6, 5), np.uint8), np.full((6, 5, 3), 7, np.uint8)


@pytest.mark.parametrize(
    ("images", "count"),
    [(COLOUR, 1), (GREY, 1), ([COLOUR, GREY], 2), (np.stack([COLOUR] * 4), 4), (np.zeros((9, 6, 5), np.uint8), 9),
     (Image.fromarray(COLOUR), 1), ((Image.fromarray(GREY), COLOUR), 2)],
)  # fmt: skip
def test_pictures_one_or_several(images, count):
    assert len(open_images(images)) == count


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_are_not_taken_for_grey_images(channels):
    with pytest.raises(OodgridError, match=r"channels first.*\(H, W, 3\)"):
        open_images(np.zeros((channels, 64, 64), np.uint8))


@pytest.mark.parametrize("images", [None, 3, 2.5, [], [None], [COLOUR.astype(float)], {"a": 1}.values()])
def test_what_is_no_image_is_refused_in_one_line(images):
    failure(open_images, images)
