"""Where the images or texts of a dataset come from, as a user writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from oodgrid.config.base import MOST, SPLITS, Seed, Slug, Strict, expand
from oodgrid.config.row_choice import RowChoice
from oodgrid.errors import OodgridError
from oodgrid.identity import file_sha256, is_file


class ConceptWorld(Strict):
    """Images of the project's own generated world (`oodgrid.encode.concept_world`)."""

    group: Literal["id", "unseen_combinations", "unseen_shapes", "unseen_both"]
    light: Literal["warm", "moon"] = Field("warm", description="Moonlight is what the tiny CLIP has not seen.")
    blur: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    noise: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    contrast: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    captions: bool = Field(False, description="With the caption of each image, so that the samples are pairs.")
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
        """Leave out what was not there always: features that were stored before stay current."""
        later = [("light", "warm"), ("captions", False)]
        return {key: value for key, value in dump(self).items() if (key, value) not in later}


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


TEXT_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "lines",
}


class TextTable(Strict):
    """Texts in files, or in a dataset of Hugging Face's library `datasets`: samples that a text tower encodes."""

    what: ClassVar[str] = "texts"
    thing: ClassVar[str] = "text"

    file: str | dict[Literal["train", "val", "test"], str] | None = Field(
        None, description="One file, or one for each split, as {train: train.tsv, test: test.tsv}."
    )
    format: Literal["csv", "tsv", "jsonl", "json", "parquet", "lines"] | None = Field(
        None,
        description="Default: by the suffix. json: lists of [text, label] or of objects, by split as in CLINC's "
        "data_full.json; lines: a text a line.",
    )
    hf: str | None = Field(None, description="A dataset of Hugging Face: a name on the hub, or a folder.")
    subset: str | None = Field(None, description="The configuration of it, where it has several.")
    revision: str | None = Field(None, description="A commit of it, so that it stays what it is.")
    download: bool = Field(False, description="Fetch it where it is not there.")
    header: bool = Field(True, description="false: the first line of a csv or tsv is a text, and columns are numbers.")
    quotes: bool = Field(True, description="false: quotes of a csv or tsv are characters as all others.")
    text: int | str = Field("text", description="Column of texts: its name; without a header its number, from 0.")
    label: int | str | None = Field(
        "label", description="Column of labels: whole numbers or names; empty or -1 for no class. null: none has one."
    )
    split: int | str | None = Field(None, description="Column that says train, val or test, where a file holds all.")
    splits: dict[Literal["train", "val", "test"], str] | None = Field(
        None,
        min_length=1,
        description="What they are called: in the column of splits, in a json file, by Hugging Face. Default: so.",
    )
    rows: RowChoice | None = Field(None, description="Take the rows that have some word in a column, or all but those.")

    @model_validator(mode="after")
    def _one_place(self) -> TextTable:
        if (self.file is None) == (self.hf is None):
            raise OodgridError("texts need a file or a dataset of Hugging Face: write file: or hf:, and not both")
        if self.hf is None and self._said & {"subset", "revision", "download"}:
            raise OodgridError("texts: subset, revision and download are of a dataset of Hugging Face: take them out")
        if self.hf is not None and self._said & {"format", "header", "quotes", "split"}:
            raise OodgridError("texts: format, header, quotes and split are of a file: take them out")
        formats = {self.format_of(file) for file in self.files}
        if self._said & {"header", "quotes"} and not formats <= {"csv", "tsv"}:
            raise OodgridError("texts: header and quotes are of csv and tsv files: take them out")
        self._check_columns(formats)
        self._check_splits(formats)
        return self

    @property
    def _said(self) -> set[str]:
        """The keys with another value than by default; what is written out in a provenance says no more than before."""
        return {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}

    @property
    def sides(self) -> dict[str, Any]:
        """The columns without which a row is no sample."""
        return {"text": self.text}

    def takes_label(self, row: Mapping[Any, Any]) -> bool:
        """Return whether the label of a row counts."""
        return True

    def _check_columns(self, formats: set[str]) -> None:
        columns = {name: column for name in ("text", "label", "split") if (column := getattr(self, name)) is not None}
        if formats == {"lines"} and (named := self._said & columns.keys()):
            raise OodgridError(f"{self.what}: lines have no columns: take {min(named)} out, or write format: tsv")
        columns |= {"choice": self.rows.column} if self.rows else {}
        if formats == {"lines"} and self.rows:
            raise OodgridError(f"{self.what}: lines have no columns: take rows out, or write format: tsv")
        wrong = int if self.header or not formats <= {"csv", "tsv"} else str
        for name, column in columns.items():
            if isinstance(column, wrong) and (wrong is int or name in self._said or name in ("text", "choice")):
                how = "has a name" if wrong is int else "has no name but a number, from 0"
                raise OodgridError(f"{self.what}: the column of {name}s {how} (header: {str(self.header).lower()})")

    def _check_splits(self, formats: set[str]) -> None:
        if isinstance(self.file, dict) and (self.split is not None or self.splits):
            raise OodgridError(f"{self.what}: files are named for each split: take split and splits out")
        if self.splits and self.split is None and self.hf is None and formats != {"json"}:
            raise OodgridError(f"{self.what}: splits are read from a column: name it by split:")

    @property
    def files(self) -> list[str]:
        """The files that it names."""
        return [] if self.file is None else [self.file] if isinstance(self.file, str) else [*self.file.values()]

    def format_of(self, file: str) -> str:
        """Return the format of a file.

        Raises:
            OodgridError: Nothing says it.
        """
        suffix = PurePosixPath(file.lower()).suffix
        if self.format is None and suffix not in TEXT_FORMATS:
            raise OodgridError(
                f"{self.what}: the suffix of {file} says no format: write format: lines, csv, tsv or another"
            )
        return self.format or TEXT_FORMATS[suffix]

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        if isinstance(self.file, dict):
            return in_order(self.file)
        if self.splits:
            return in_order(self.splits)
        return SPLITS if self.split is not None or "json" in map(self.format_of, self.files) else ()


Scenario = Literal["misaligned", "new_domain", "noisy"]  # of pairs
OF_PAIRS = ("pair_texts", "derived")


class Derived(Strict):
    """A scenario of the pairs of another dataset: what makes the samples, and of which pairs."""

    of: Slug = Field(description="The dataset of this experiment whose pairs these are made of.")
    scenario: Scenario = Field(
        description="misaligned: each image with the text of a pair of another class; noisy: the same pairs with noise "
        "on the images; new_domain: its pairs as they are."
    )
    seed: Seed = Field(0, description="Of the texts that are drawn, or of the noise.")
    noise: float | None = Field(
        None,
        gt=0,
        le=100,
        description="noisy: standard deviation of the noise, of pixels from 0 to 1; of imported features, which have "
        "no pixels, relative to the norm of the feature. Default: .5",
    )

    @model_validator(mode="after")
    def _noise_of_noisy(self) -> Derived:
        if self.noise is not None and self.scenario != "noisy":
            raise OodgridError(f"pairs of {self.of}: noise is of scenario: noisy, not of {self.scenario}: take it out")
        return self

    @property
    def strength(self) -> float:
        """The standard deviation of the noise."""
        return 0.5 if self.noise is None else self.noise


class PairTexts(Strict):
    """Text features from which each imported image gets one, so that the samples are pairs."""

    features: str = Field(description="Text features (M, D), .pt or .npy, of the joint space of the images.")
    names: str | None = Field(None, description="JSON or text file with the M texts, to be stored beside them.")
    row: Literal["label", "any"] | Annotated[int, Field(strict=True, ge=0)] = Field(
        "label", description="label: the row of the class of the image; any: a draw for each; a number: this row."
    )
    seed: Seed = Field(0, description="Of the draws.")

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the texts: the content of the files that are there, wherever they lie, and whose a row is."""
        told: dict[str, Any] = {"row": self.row, "seed": self.seed}
        for key, place in (("features", self.features), ("names", self.names)):
            with suppress(OodgridError):  # a variable that is not set here: the file cannot be compared
                if place is None or is_file(expand(place)):
                    told[f"{key}_sha256"] = None if place is None else file_sha256(expand(place))
        return told


class Imported(Strict):
    """Features that somebody else computed; `oodgrid import` brings them in."""

    tip_adapter: str | None = Field(None, description="Folder with a cache in Tip-Adapter's format.")
    test: str = Field("test", description="What of it becomes the test split: test, val, or keys_4shots.")
    text: str | None = Field(None, description="Text features (K, D), .pt or .npy, not averaged over templates.")
    classnames: str | None = Field(None, description="JSON or text file with the K class names.")
    pair_texts: PairTexts | None = Field(None, description="Make pairs of the images of tip_adapter.")
    derived: Derived | None = Field(None, description="Filled in: the scenario of pairs: {of: …} of imported pairs.")

    @model_validator(mode="after")
    def _texts_of_images(self) -> Imported:
        if self.pair_texts and not self.tip_adapter:
            raise OodgridError("imported: pair_texts go with the images of tip_adapter: name it, or take them out")
        return self

    @model_serializer(mode="wrap")
    def _without_pairs(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what imports of images do not have: their identity is what it was."""
        return {key: value for key, value in dump(self).items() if value is not None or key not in OF_PAIRS}


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Return splits in the order train, val, test."""
    return tuple(split for split in SPLITS if split in splits)
