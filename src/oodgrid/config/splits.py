"""What a dataset has beside its images: splits where its source has none, and augmented views."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from oodgrid.config.base import MOST, Seed, Strict

Split = Literal["train", "val", "test"]


class Splits(Strict):
    """Seeded per-class splits of a set that comes without: the rest is the test split."""

    train: int = Field(ge=1, le=MOST, description="Images a class.")
    val: int = Field(ge=1, le=MOST, description="Images a class.")
    seed: Seed = 0


class Views(Strict):
    """Augmented views of the training images that the few-shot draws use; methods take them by `views: FAMILY`."""

    family: Literal["rrc08", "rrc50"] = Field(description="Random resized crops of .08-1 or .5-1 of the area, flipped.")
    count: int = Field(10, ge=1, le=1000, description="Views an image.")
    seed: Seed = 0
    local_features: bool = Field(False, description="Local features of every view too.")
