from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from oodgrid.config import parse
from oodgrid.encode.sources import open_split
from oodgrid.encode.thumbnails import SIDE, thumbnails


@pytest.fixture
def dataset(experiment_of, tmp_path):
    """A folder of two images, a wide one and one that is broken."""
    (tmp_path / "cat").mkdir()
    Image.fromarray(np.zeros((50, 500, 3), np.uint8)).save(tmp_path / "cat/wide.png")
    (tmp_path / "cat/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    entry = {"name": "mine", "folder": str(tmp_path)}
    given = {"name": "concepts", "ood": {"near": [entry], "far": ["noise"]}}
    return {each.name: each for each in parse(experiment_of(id_datasets=[given])).datasets()}


def test_what_can_be_read_is_a_small_picture_and_all_else_is_left_out(dataset):
    pictures = thumbnails(dataset["mine"], ["cat/wide.png", "cat/broken.png", "cat/gone.png"])
    assert list(pictures) == ["cat/wide.png"]
    assert Image.open(io.BytesIO(pictures["cat/wide.png"])).size == (SIDE, 7)
    assert pictures == thumbnails(dataset["mine"], ["cat/wide.png"])


def test_generated_images_have_pictures_too(dataset):
    path = open_split(dataset["noise"], "test").paths[3]
    assert set(thumbnails(dataset["noise"], [path])) == {path}


def test_a_source_that_is_not_here_has_none(dataset):
    elsewhere = dataset["mine"].model_copy(update={"folder": f"{dataset['mine'].folder}-gone"})
    assert thumbnails(elsewhere, ["cat/wide.png"]) == {}
