"""A dataset, as a user writes it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from oodgrid import catalogue
from oodgrid.config.base import MOST, SPLITS, Seed, Slug, Strict
from oodgrid.config.sources import (
    ConceptWorld,
    Generated,
    HuggingFace,
    Idx,
    Imported,
    ListFile,
    NumpyArrays,
    Torchvision,
    Webdataset,
    in_order,
)
from oodgrid.errors import OodgridError


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


SOURCES = (
    "concept_world",
    "generated",
    "folder",
    "list",
    "archive",
    "webdataset",
    "idx",
    "numpy",
    "torchvision",
    "hf",
    "imported",
)


class Dataset(Strict):
    """A dataset: a name and exactly one source."""

    name: Slug = Field(description="The name of this dataset in results/ and tables.")
    concept_world: ConceptWorld | None = None
    generated: Generated | None = None
    folder: str | None = Field(None, description="A folder tree with one sub-folder a class.")
    list_: ListFile | None = Field(None, alias="list")
    archive: str | None = Field(None, description="A zip or tar file with one folder a class, read in place.")
    webdataset: Webdataset | None = None
    idx: Idx | None = None
    numpy: NumpyArrays | None = None
    torchvision: Torchvision | None = None
    hf: HuggingFace | None = None
    imported: Imported | None = None
    class_folder: Literal["top", "innermost", "none"] | None = Field(
        None,
        description="Which folder is the class of an image, where class folders lie within others: the outermost below "
        "folder or archive, that in which it lies, or none. Default: there is one level, or it is refused.",
    )
    split_folders: dict[Literal["train", "val", "test"], str] | None = Field(
        None, min_length=1, description="Folders of splits within folder or archive, as {train: train, test: valid}."
    )
    splits: Splits | None = None
    classnames: list[str] | None = Field(None, min_length=1, description="Default: the names of the class folders.")
    templates: list[str] = Field(["a photo of a {}."], min_length=1, description="Prompts with {} for the name.")
    text: Literal["classnames", "visual_prototypes"] = Field(
        "classnames",
        description="visual_prototypes: the class means of the shots stand in place of the texts.",
    )
    views: list[Views] = Field([], description="Augmented views to encode, for methods with views: FAMILY.")
    exif_rotation: bool = Field(
        False, description="Turn photographs upright as their EXIF says; published numbers are without."
    )
    on_error: Literal["stop", "skip"] = Field("stop", description="At a broken image: stop, or leave it out, recorded.")
    shards: int = Field(
        1, ge=1, le=10_000, description="Encode as so many jobs, for large sets; changes nothing in the result."
    )
    limit: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MOST,
        description="For trials: so many images of each split, drawn from all classes alike; files and tables then "
        "call the dataset NAME-limit-N.",
    )
    semantic_distance: int | None = Field(None, description="Where it is known: grade of semantic shift.")
    covariate_shift: int | None = Field(None, description="Where it is known: grade of covariate shift.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_catalogue(cls, data: Any) -> Any:
        if not (isinstance(data, dict) and isinstance(data.get("name"), str)):
            return data
        if not set(SOURCES) & set(data) and set(data) <= set(cls.keys()):
            data = {**catalogue.entry("dataset", data["name"]), **data}
        # an unknown key is said later, and may be a source, misspelt: then the catalogue is not meant
        return data | {"name": data["name"] + _mark(data.get("limit"))}

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        sources = [source for source in SOURCES if self.source(source) is not None]
        if len(sources) != 1:
            named = " and ".join(sources) or "none"
            raise OodgridError(f"dataset {self.name} needs one source of {', '.join(SOURCES)}; it names {named}")
        if self.limit and self.imported:
            raise OodgridError(f"dataset {self.name}: limit is for images that are to be encoded; imports are whole")
        for key in ("class_folder", "split_folders"):
            if getattr(self, key) and sources[0] not in ("folder", "archive"):
                raise OodgridError(f"dataset {self.name}: {key} is for folder and archive, not for {sources[0]}")
        splits = self._own_splits(sources[0])
        if splits and "test" not in splits:
            names = "split_folders" if self.split_folders else sources[0]
            raise OodgridError(f"dataset {self.name}: {names} names the splits {', '.join(splits)} but no test split")
        if self.splits and (self.concept_world or self.imported or len(splits) > 1):
            raise OodgridError(f"dataset {self.name}: splits are for a source without; {sources[0]} has its own")
        wrong = [template for template in self.templates if "{}" not in template]
        if wrong:
            raise OodgridError(f"dataset {self.name}: template {wrong[0]!r} lacks {{}}, the place of the class name")
        return self

    @property
    def whole_name(self) -> str:
        """The name without the mark of a limit, as the catalogue knows it."""
        return self.name.removesuffix(_mark(self.limit))

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that encoding makes of it; an imported dataset has what its files hold."""
        if self.splits or (self.concept_world and self.concept_world.train):
            return SPLITS
        source = next(name for name in SOURCES if self.source(name) is not None)
        return self._own_splits(source) or ("test",)

    def _own_splits(self, source: str) -> tuple[str, ...]:
        """Return the splits that a source brings."""
        if self.split_folders:
            return in_order(self.split_folders)
        return getattr(self.source(source), "own_splits", ())

    def source(self, name: str) -> Any:
        """Return what the configuration says of a source, or None."""
        return getattr(self, "list_" if name == "list" else name)

    @property
    def files(self) -> dict[str, Any]:
        """Where its files lie, as the configuration says it; nothing of images that are made, or imported by hand."""
        by_source = self.model_dump(include={*SOURCES, "list_"} - {"concept_world", "generated"}, by_alias=True)
        places = {name: place for name, place in by_source.items() if place is not None and self._is_told(name)}
        return {**places, "split_folders": self.split_folders} if places else {}

    def _is_told(self, source: str) -> bool:
        return source != "imported" or bool(self.imported and self.imported.model_fields_set)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the images and labels, as far as the configuration says it."""
        optional = {*SOURCES, "limit"}
        included = {*optional, "list_", "class_folder", "split_folders", "splits", "classnames", "exif_rotation"}
        fields = self.model_dump(include=included, by_alias=True)
        return {key: value for key, value in fields.items() if value is not None or key not in optional}

    @property
    def text_identity(self) -> dict[str, Any]:
        """What decides the texts, as far as the configuration says it; of an import, its one template."""
        if self.imported:
            return {"templates": self.templates[:1]}
        return {"templates": self.templates, "given_classnames": self.classnames}


def _mark(limit: Any) -> str:
    """Return what a limit adds to the name of a dataset, so that no file, table or figure shows a part as the whole."""
    return f"-limit-{limit}" if isinstance(limit, int) and limit > 0 else ""
