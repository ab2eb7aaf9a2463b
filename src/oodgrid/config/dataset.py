"""A dataset, as a user writes it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from oodgrid import catalogue
from oodgrid.catalogue import real
from oodgrid.config.base import MOST, SPLITS, Slug, Strict
from oodgrid.config.class_choice import ClassChoice, ClassPattern, Half, chosen, disjoint, mark_of
from oodgrid.config.dataset_keys import check_keys
from oodgrid.config.draws import Draws, OfDraws
from oodgrid.config.pairs import WITHOUT_CLASS, PairTable
from oodgrid.config.sources import (
    ConceptWorld,
    Derived,
    Generated,
    HuggingFace,
    Idx,
    Imported,
    ListFile,
    NumpyArrays,
    TextTable,
    Torchvision,
    Webdataset,
    in_order,
)
from oodgrid.config.splits import Split, Splits, Views
from oodgrid.config.word_files import words_of
from oodgrid.errors import OodgridError
from oodgrid.identity import digest

TextSide = Literal["classnames", "visual_prototypes", "own_head"]
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
    "texts",
    "pairs",
    "imported",
    "root",
)
OF_SAMPLES = (  # what of an entry decides its samples, and so those of pairs that are made of them
    *SOURCES,
    *("name", "of", "only", "partial", "classes", "class_folder", "split_folders", "splits", "classnames"),
    *("exif_rotation", "limit"),
)
PARTS = {"image": ("image",), "text": ("text",), "pair": ("image", "text"), "sample": ()}
FIELDS = {"list": "list_", "pairs": "pairs_"}  # of sources by whose names the models have something else
FILES = ("classnames", "templates", "classes")  # keys whose list may be a file


class Dataset(OfDraws, Strict):
    """A dataset: a name and exactly one source."""

    _draws: Draws | None = PrivateAttr(None)

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
    texts: TextTable | None = Field(None, description="Texts in place of images.")
    pairs_: PairTable | None = Field(
        None, alias="pairs", description="Pairs of an image and a text in place of images."
    )
    imported: Imported | None = None
    root: str | None = Field(
        None,
        description="The folder in which one of the catalogue lies (oodgrid datasets --root FOLDER).",
    )
    of: Slug | None = Field(None, description="What the catalogue calls a dataset of root; default: its name.")
    only: list[Split] | None = Field(
        None, min_length=1, description="Splits of root to take; default: all, of a set that is OOD alone test."
    )
    partial: bool = Field(
        False,
        strict=True,
        description="Take a dataset of root though images are missing; files and tables call it NAME-partial.",
    )
    classes: ClassChoice | None = Field(
        None,
        description="A part of the classes: {half: 1, seed: 0}, whose other half may be near OOD, or a list of names, "
        "or the .txt or .json file of one.",
    )
    class_folder: Literal["top", "innermost", "none"] | None = Field(
        None,
        description="Which folder is the class of an image, where class folders lie within others: the outermost below "
        "folder or archive, that in which it lies, or none. Default: there is one level, or it is refused.",
    )
    class_pattern: ClassPattern | None = Field(
        None,
        description="Of folder or archive: a regular expression whose one group is the class, where names of images "
        "say it, as ^(n[0-9]+)_ for n01440764_tench.JPEG.",
    )
    split_folders: dict[Literal["train", "val", "test"], str] | None = Field(
        None, min_length=1, description="Folders of splits within folder or archive, as {train: train, test: valid}."
    )
    splits: Splits | None = None
    classnames: list[str] | None = Field(
        None, min_length=1, description="Default: the names of the class folders. A .txt or .json file of them, too."
    )
    templates: list[str] = Field(
        ["a photo of a {}."],
        min_length=1,
        description="Prompts with {} for the name; a .txt or .json file; of a dataset of root coop or openai; of texts "
        "the name alone.",
    )
    text: TextSide | dict[Slug, TextSide] = Field(
        "classnames",
        description="visual_prototypes: the class means of the shots stand in place of the texts; own_head: the "
        "backbone's classification head does. May differ by backbone, as {clip-vit-b16: visual_prototypes}; those that "
        "are not named take classnames.",
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
        description="For trials: so many samples of each split, drawn from all classes alike; files and tables then "
        "call the dataset NAME-limit-N.",
    )
    semantic_distance: int | None = Field(None, description="Where it is known: grade of semantic shift.")
    covariate_shift: int | None = Field(None, description="Where it is known: grade of covariate shift.")

    @classmethod
    def prepare(cls, data: dict[str, Any], left_out: set[str]) -> None:
        """Read lists that are files, and fill in the prompts of a dataset of the catalogue."""
        of, where = data.get("of") or data.get("name"), f"dataset {data.get('name')}"
        given = set(data)
        published = real.prompts(of) if data.get("root") and of in real.names() else {}
        if published and "templates" not in data:
            data["templates"] = published.get("coop") or ["a photo of a {}."]
        of_texts = data.get("root") and of in real.names() and real.holds_texts(of)
        if (data.get("texts") is not None or of_texts) and "templates" not in given:
            data["templates"] = ["{}"]
        for key in FILES:
            value = data.get(key)
            if isinstance(value, str):
                left_out.add(key)
                del data[key]
                by_name = published if key == "templates" else {}
                data[key] = by_name[value] if value in by_name else words_of(value, f"{where}, {key}", by_name)
                left_out.discard(key)

    @classmethod
    def owned(cls, data: dict[str, Any], key: Any, line: str) -> str:
        """Return the line of a mistake in a source with the name of the dataset."""
        whose = f"dataset {data.get('name')}"
        return f"{whose}: {line}" if key in SOURCES and whose not in line else line

    @model_validator(mode="before")
    @classmethod
    def _fill_from_catalogue(cls, data: Any) -> Any:
        if not (isinstance(data, dict) and isinstance(data.get("name"), str)):
            return data
        if not set(SOURCES) & set(data) and set(data) <= set(cls.keys()):
            data = {**catalogue.entry("dataset", data["name"]), **data}
        # an unknown key is said later, and may be a source, misspelt: then the catalogue is not meant
        mark = mark_of(data)  # which a provenance that is read again has already
        return data | {"name": data["name"].removesuffix(mark) + mark}

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        sources = [source for source in SOURCES if self.source(source) is not None]
        if len(sources) != 1:
            named = " and ".join(sources) or "none"
            raise OodgridError(f"dataset {self.name} needs one source of {', '.join(SOURCES)}; it names {named}")
        check_keys(self, sources[0])
        return self

    @property
    def whole_name(self) -> str:
        """The name without the marks of a half, a limit or a part, as the catalogue knows it."""
        return self.name.removesuffix(
            mark_of({key: getattr(self, key) for key in ("limit", "classes", "of", "partial")})
        )

    @property
    def real_name(self) -> str:
        """What the catalogue calls a dataset of root."""
        return self.of or self.whole_name

    @property
    def thing(self) -> str:
        """What one of its samples is, a key of `PARTS`: the one place that tells them apart by their source."""
        if self.imported:
            return "sample"
        if self.pairs_ or (self.concept_world and self.concept_world.captions):
            return "pair"
        return "text" if self.texts or (self.root and real.holds_texts(self.real_name)) else "image"

    @property
    def parts(self) -> tuple[str, ...]:
        """What of a sample goes through a backbone, which must take all of it; nothing of what was imported."""
        return PARTS[self.thing]

    @property
    def may_have_views(self) -> bool:
        """Whether augmented views of its samples can be made, or may have been imported."""
        return self.thing in ("image", "sample")

    @property
    def taken_labels(self) -> list[int] | None:
        """The labels of the catalogue that `classes` takes of a dataset of root, ascending; None where it takes all.

        Classes go by the names and keys of the catalogue, whatever texts `classnames` gives them.
        """
        if self.classes is None or not self.root:
            return None
        keys = real.class_keys(self.real_name)
        return chosen(self.classes, list(keys.values()), list(keys), f"dataset {self.name}")

    def is_apart_from(self, other: Dataset) -> bool:
        """Return whether this and another part of one dataset surely share no class."""
        if self.taken_labels is not None and other.taken_labels is not None:
            return not set(self.taken_labels) & set(other.taken_labels)
        same_words = self.classnames == other.classnames or isinstance(self.classes, Half)
        return same_words and disjoint(self.classes, other.classes)

    @property
    def known_classes(self) -> list[str]:
        """The names of its classes as far as they are known without looking at images; empty where they are not."""
        names = self.classnames or []
        if not self.root:
            return list(names) if not self.classes else []
        names = names or list(real.class_keys(self.real_name).values())
        return list(names) if self.taken_labels is None else [names[label] for label in self.taken_labels]

    @property
    def may_be_incomplete(self) -> bool:
        """Whether a dataset of root is taken though images are missing: for a trial, or because that is said."""
        return self.partial or self.limit is not None

    def text_under(self, backbone_name: str) -> str:
        """Return what stands for the classes under a backbone: classnames, visual_prototypes or own_head."""
        return self.text if isinstance(self.text, str) else self.text.get(backbone_name, "classnames")

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that encoding makes of it; an imported dataset has what its files hold."""
        if self.splits or (self.concept_world and self.concept_world.train):
            return SPLITS
        source = next(name for name in SOURCES if self.source(name) is not None)
        return self.own_splits(source) or ("test",)

    @property
    def derived(self) -> Derived | None:
        """The scenario that its pairs are, and of which dataset; None where they are no scenario."""
        if self.imported:
            return self.imported.derived
        return self.pairs_.derived if self.pairs_ else None

    @property
    def are_without_class(self) -> bool:
        """Whether its pairs are out-of-distribution as pairs, whatever the classes of the set they are made of."""
        return bool(self.derived and self.derived.scenario in WITHOUT_CLASS)

    @cached_property
    def origin(self) -> Dataset | None:
        """The dataset that its pairs are made of, where they are a scenario that is to be encoded."""
        if self.pairs_ is None or self.pairs_.source is None:
            return None
        return Dataset.model_validate(self.pairs_.source)

    def _splits_of_origin(self) -> tuple[str, ...]:
        """Return the splits of a scenario: val is of no use."""
        try:
            origin = self.origin
        except (OodgridError, ValidationError):  # its own entry says what is wrong with it
            origin = None
        return tuple(split for split in (origin.split_names if origin else ("test",)) if split != "val")

    def own_splits(self, source: str) -> tuple[str, ...]:
        """Return the splits that a source brings."""
        if self.pairs_ and self.pairs_.of:
            return self._splits_of_origin()
        if self.split_folders:
            return in_order(self.split_folders)
        if source == "root":
            return in_order(self.only or real.real_set(self.real_name).splits)
        return getattr(self.source(source), "own_splits", ())

    def source(self, name: str) -> Any:
        """Return what the configuration says of a source, or None."""
        return getattr(self, FIELDS.get(name, name))

    @property
    def files(self) -> dict[str, Any]:
        """Where its files lie, as the configuration says it; nothing of images that are made, or imported by hand."""
        by_source = self.model_dump(
            include={*SOURCES, *FIELDS.values()} - {"concept_world", "generated"}, by_alias=True
        )
        places = {name: place for name, place in by_source.items() if place is not None and self._is_told(name)}
        places |= {"of": self.real_name} if self.root else {}  # many datasets lie below one root
        return {**places, "split_folders": self.split_folders} if places else {}

    def _is_told(self, source: str) -> bool:
        return source != "imported" or bool(self.imported and self.imported.model_fields_set)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the images and labels, as far as the configuration says it."""
        optional = {*SOURCES, "limit", "classes", "of", "partial", "class_pattern"}
        included = {*optional, *FIELDS.values(), "class_folder", "split_folders", "splits", "classnames"}
        included |= {"exif_rotation"}
        fields = self.model_dump(include=included, by_alias=True)
        fields |= {"of": self.real_name if self.root else None, "partial": self.partial or None}
        return {key: value for key, value in fields.items() if value is not None or key not in optional}

    @property
    def text_identity(self) -> dict[str, Any]:
        """What decides the texts, as far as the configuration says it; of an import, its one template."""
        if self.imported:
            return {"templates": self.templates[:1]}
        fields: dict[str, Any] = {"templates": self.templates, "given_classnames": self.classnames}
        if self.root:
            fields["classes_sha256"] = digest(self.known_classes)
        elif self.classes is not None:
            fields["classes"] = self.model_dump(include={"classes"})["classes"]
        return fields
