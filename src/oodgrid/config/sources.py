"""Where the images of a dataset come from, as a user writes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from oodgrid.config.base import MOST, SPLITS, Strict
from oodgrid.errors import OodgridError


class ConceptWorld(Strict):
    """Images of the project's own generated world (`oodgrid.encode.concept_world`)."""

    group: Literal["id", "unseen_combinations", "unseen_shapes", "unseen_both"]
    light: Literal["warm", "moon"] = Field("warm", description="Moonlight is what the tiny CLIP has not seen.")
    blur: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    noise: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    contrast: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    train: int = Field(0, ge=0, le=10_000, description="Images a class.")
    val: int = Field(0, ge=0, le=10_000, description="Images a class.")
    test: int = Field(40, ge=1, le=10_000, description="Images a class.")

    @model_validator(mode="after")
    def _train_with_val(self) -> ConceptWorld:
        if bool(self.train) != bool(self.val):
            raise OodgridError("concept_world: train and val go together: give both, or neither for a test set alone")
        return self

    @model_serializer(mode="wrap")
    def _without_warm_light(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default light out: features that were stored before there was another one stay current."""
        return {key: value for key, value in dump(self).items() if (key, value) != ("light", "warm")}


class Generated(Strict):
    """Images without ID classes that need no files."""

    kind: Literal["textures", "noise", "digits"]
    images: int = Field(600, ge=1, le=MOST, description="How many; digits takes all of scikit-learn's at most.")


class Idx(Strict):
    """A pair of idx files, as MNIST and notMNIST come (gzip or not)."""

    images: str
    labels: str


class ListFile(Strict):
    """A list of image files: CSV, TSV or Parquet with columns, text of `path label` a line, or CoOp's splits (JSON)."""

    file: str
    root: str | None = Field(None, description="Folder to which the paths belong. Default: that of the list.")
    path: str = Field("path", description="Column of paths.")
    label: str = Field("label", description="Column of labels: whole numbers or names; empty or -1 for no class.")
    split: str | None = Field(None, description="Column that says train, val or test. null: all is the test split.")
    splits: list[Literal["train", "val", "test"]] | None = Field(
        None, min_length=1, description="Those it has, where it says splits. Default: all three."
    )

    @model_validator(mode="after")
    def _splits_of_something(self) -> ListFile:
        if self.is_coop and self.model_fields_set & {"path", "label", "split"}:
            raise OodgridError(f"list {self.file} is a file of CoOp's splits, which has no columns: leave them out")
        if self.splits and not (self.split or self.is_coop):
            raise OodgridError(f"list {self.file}: splits are read from a column: name it by split:")
        return self

    @property
    def is_coop(self) -> bool:
        """Whether it is a file of splits as CoOp's `split_zhou_*.json`."""
        return self.file.lower().endswith(".json")

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        return in_order(self.splits or SPLITS) if self.split or self.is_coop else ()

    @property
    def says_nothing_of_splits(self) -> bool:
        """Whether the config leaves open if there is a column of splits."""
        return "split" not in self.model_fields_set


class Webdataset(Strict):
    """Shards of WebDataset: tar files in which members of one key make a sample."""

    shards: str | dict[Literal["train", "val", "test"], str] = Field(
        description="As shards/{000..012}.tar, or one such pattern for each split."
    )
    image: str | None = Field(
        None, description="Suffix of the member with the image where a sample has several: jpg, rgb.png."
    )
    label: str = Field("cls", description="Suffix of the member with the label: cls, txt, json.")
    json_key: str = Field("label", description="Where the label is in .json members: its key.")

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        return in_order(self.shards) if isinstance(self.shards, dict) else ()


class NumpyArrays(Strict):
    """Images as an array (N, H, W) or (N, H, W, 3) of uint8: two .npy files, or an .npz with images and labels."""

    images: str
    labels: str | None = None


class Torchvision(Strict):
    """A dataset of torchvision that lies on this machine."""

    dataset: str = Field(description="The name of the class, as DTD.")
    root: str = Field(description="The folder that torchvision is to look in.")
    download: bool = Field(False, description="Fetch it where it is not there.")
    splits: list[Literal["train", "val", "test"]] = Field(["test"], min_length=1, description="Those it has.")
    arguments: dict[Literal["train", "val", "test"], dict[str, Any]] = Field(
        {}, description="What the class is told for a split beyond split= or train=."
    )

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        return in_order(self.splits)


class HuggingFace(Strict):
    """A dataset of Hugging Face's library `datasets`: from its cache, a folder, or the hub where asked."""

    dataset: str = Field(description="A name on the hub, or a folder.")
    subset: str | None = Field(None, description="The configuration of it, where it has several.")
    revision: str | None = Field(None, description="A commit, so that it stays what it is.")
    image: str = Field("image", description="Column of images.")
    label: str | None = Field("label", description="Column of labels; null for none.")
    splits: dict[Literal["train", "val", "test"], str] = Field({"test": "test"}, description="Its names for ours.")
    download: bool = Field(False, description="Fetch it where it is not there.")

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        return in_order(self.splits)


class Imported(Strict):
    """Features that somebody else computed; `oodgrid import` brings them in."""

    tip_adapter: str | None = Field(None, description="Folder with a cache in Tip-Adapter's format.")
    test: str = Field("test", description="What of it becomes the test split: test, val, or keys_4shots.")
    text: str | None = Field(None, description="Text features (K, D), .pt or .npy, not averaged over templates.")
    classnames: str | None = Field(None, description="JSON or text file with the K class names.")


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Return splits in the order train, val, test."""
    return tuple(split for split in SPLITS if split in splits)
