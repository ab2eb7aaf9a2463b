"""One experiment, as a user writes it: the models that validate it and give it its meaning.

Names are looked up in the catalogue and the registry; every mistake is one line with a did-you-mean. Nothing
here imports torch. The JSON schema for editors is generated from these models (`oodgrid schema`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from oodgrid import catalogue, registry
from oodgrid.errors import OodgridError, unknown
from oodgrid.identity import file_sha256

SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
KINDS = ("near", "far", "covariate")
SPLITS = ("train", "val", "test")
SHARED_FOLDERS = ("features", "text", "kept")
ANY = "any"  # stands in place of a method for scores that do not depend on it

Slug = Annotated[str, Field(pattern=SLUG)]


class Strict(BaseModel):
    """A part of the configuration: no key beyond its own, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        known = cls.keys()
        for key in data if isinstance(data, dict) else ():
            if key not in known:
                raise unknown(f"config key of {_spaced(cls.__name__)}", str(key), known)
        return data

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys that the configuration may have here."""
        return [field.alias or name for name, field in cls.model_fields.items()]


PREPROCESSING = {"size", "resize", "interpolation", "resize_mode", "mean", "std"}


class Backbone(Strict):
    """Architecture, weights, preprocessing and precision together: two interpolations are two backbones."""

    name: Slug = Field(description="The name of this backbone in results/ and tables.")
    model: str = Field(
        description="An open_clip model, for OpenAI's weights one that ends in -quickgelu; or timm/NAME, without text."
    )
    pretrained: str = Field(
        description="A tag of open_clip or timm, a .pt or .safetensors file, package:FILE, or random."
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Of the file, checked before it is read.")
    seed: int = Field(0, ge=0, description="Of random weights, for trials.")
    model_config_file: str | None = Field(None, description="JSON of the architecture, or package:FILE.")
    precision: Literal["fp32", "bf16", "fp16", "amp_bf16", "amp_fp16"] = Field(
        "fp32", description="Arithmetic of the encoder; amp_: mixed. What it changes is measured and recorded."
    )
    size: int | None = Field(None, ge=1, description="Pixels a side that the encoder sees. Default: the weights' own.")
    resize: int | None = Field(None, ge=1, description="Short side before the centre is cut. Default: size.")
    interpolation: Literal["bicubic", "bilinear"] | None = Field(None, description="Default: the weights' own.")
    resize_mode: Literal["shortest", "longest", "squash"] | None = Field(None, description="Default: the weights' own.")
    mean: tuple[float, float, float] | None = Field(None, description="Default: the weights' own.")
    std: tuple[float, float, float] | None = Field(None, description="Default: the weights' own.")
    decode: Literal["reference", "fast"] = Field("reference", description="reference: Pillow, as in every peer's code.")
    local_features: bool = Field(False, description="Keep a feature of every patch too (large: P times the size).")

    @model_validator(mode="after")
    def _refuse_the_quickgelu_trap(self) -> Backbone:
        if self.pretrained == "openai" and not self.model.endswith("-quickgelu"):
            raise OodgridError(
                f"backbone {self.name}: OpenAI's weights were trained with QuickGELU and lose 4 points of accuracy "
                f"without it: write model: {self.model}-quickgelu"
            )
        if self.resize and self.resize_mode not in (None, "shortest"):
            raise OodgridError(f"backbone {self.name}: resize is for resize_mode: shortest")
        return self

    @property
    def weights_file(self) -> Path | None:
        """The file of the weights, or None where `pretrained` is a tag; it need not be there."""
        if self.pretrained.startswith(catalogue.PACKAGE):
            return catalogue.packaged(self.pretrained)
        path = expand(self.pretrained)
        return path if path.suffix in (".pt", ".pth", ".bin", ".safetensors") or path.is_file() else None

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What the configuration changes of the weights' own preprocessing."""
        return self.model_dump(include=PREPROCESSING, exclude_none=True)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers that this backbone gives, as far as the configuration says it.

        Files count by their content and not by their place.
        """
        found = self.model_dump(exclude={"name", "sha256", "seed", "model_config_file"})
        if self.model_config_file:
            found["model_config_sha256"] = _content(self.model_config_file)
        if self.pretrained == "random":
            found["seed"] = self.seed
        elif self.weights_file is not None:
            found["pretrained"] = "file"
            found["pretrained_sha256"] = self.sha256 or _content(self.pretrained)
        return {key: value for key, value in found.items() if value is not None or key in PREPROCESSING}


class ConceptWorld(Strict):
    """Images of the project's own generated world (`oodgrid.encode.concept_world`)."""

    group: Literal["id", "unseen_combinations", "unseen_shapes", "unseen_both"]
    blur: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    noise: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    contrast: int = Field(0, ge=0, le=5, description="Severity of covariate shift.")
    train: int = Field(0, ge=0, description="Images a class.")
    val: int = Field(0, ge=0, description="Images a class.")
    test: int = Field(40, ge=1, description="Images a class.")

    @model_validator(mode="after")
    def _train_with_val(self) -> ConceptWorld:
        if bool(self.train) != bool(self.val):
            raise OodgridError("concept_world: train and val go together: give both, or neither for a test set alone")
        return self


class Generated(Strict):
    """Images without ID classes that need no files."""

    kind: Literal["textures", "noise", "digits"]
    images: int = Field(600, ge=1, description="How many; digits takes all of scikit-learn's at most.")


class Idx(Strict):
    """A pair of idx files, as MNIST and notMNIST come (gzip or not)."""

    images: str
    labels: str


class ListFile(Strict):
    """A list of image files: CSV or Parquet with columns, or text with one `path label` a line."""

    file: str
    root: str | None = Field(None, description="Folder to which the paths belong. Default: that of the list.")
    path: str = Field("path", description="Column of paths.")
    label: str = Field("label", description="Column of labels: whole numbers or names; empty or -1 for no class.")
    split: str | None = Field(None, description="Column that says train, val or test. Default: all is the test split.")

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        return SPLITS if self.split else ()


class Webdataset(Strict):
    """Shards of WebDataset: tar files in which members of one key make a sample."""

    shards: str | dict[Literal["train", "val", "test"], str] = Field(
        description="As shards/{000..012}.tar, or one such pattern for each split."
    )
    label: str = Field("cls", description="Suffix of the member with the label: cls, txt, json.")
    json_key: str = Field("label", description="Where the label is in .json members: its key.")

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits that it brings."""
        return _in_order(self.shards) if isinstance(self.shards, dict) else ()


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
        return _in_order(self.splits)


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
        return _in_order(self.splits)


class Imported(Strict):
    """Features that somebody else computed; `oodgrid import` brings them in."""

    tip_adapter: str | None = Field(None, description="Folder with a cache in Tip-Adapter's format.")
    test: str = Field("test", description="What of it becomes the test split: test, val, or keys_4shots.")
    text: str | None = Field(None, description="Text features (K, D), .pt or .npy, not averaged over templates.")
    classnames: str | None = Field(None, description="JSON or text file with the K class names.")


class Splits(Strict):
    """Seeded per-class splits of a set that comes without: the rest is the test split."""

    train: int = Field(ge=1, description="Images a class.")
    val: int = Field(ge=1, description="Images a class.")
    seed: int = Field(0, ge=0)


class Views(Strict):
    """Augmented views of the training images that the few-shot draws use; methods take them by `views: FAMILY`."""

    family: Literal["rrc08", "rrc50"] = Field(description="Random resized crops of .08-1 or .5-1 of the area, flipped.")
    count: int = Field(10, ge=1, description="Views an image.")
    seed: int = Field(0, ge=0)
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
    shards: int = Field(1, ge=1, description="Encode as so many jobs, for large sets; changes nothing in the result.")
    semantic_distance: int | None = Field(None, description="Where it is known: grade of semantic shift.")
    covariate_shift: int | None = Field(None, description="Where it is known: grade of covariate shift.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_catalogue(cls, data: Any) -> Any:
        named = isinstance(data, dict) and isinstance(data.get("name"), str)
        if named and not set(SOURCES) & set(data) and set(data) <= set(cls.keys()):
            return {**catalogue.entry("dataset", data["name"]), **data}
        return data  # with an unknown key _known_keys is to speak: it may be a source, misspelt

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        given = [source for source in SOURCES if self.source(source) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise OodgridError(f"dataset {self.name} needs one source of {', '.join(SOURCES)}; it names {said}")
        own = getattr(self.source(given[0]), "own_splits", ())
        if own and "test" not in own:
            raise OodgridError(f"dataset {self.name}: {given[0]} names the splits {', '.join(own)} but no test split")
        if self.splits and (self.concept_world or self.imported or len(own) > 1):
            raise OodgridError(f"dataset {self.name}: splits are for a source without; {given[0]} has its own")
        wrong = [template for template in self.templates if "{}" not in template]
        if wrong:
            raise OodgridError(f"dataset {self.name}: template {wrong[0]!r} lacks {{}}, the place of the class name")
        return self

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that encoding makes of it; an imported dataset has what its files hold."""
        if self.splits or (self.concept_world and self.concept_world.train):
            return SPLITS
        given = next(source for source in map(self.source, SOURCES) if source is not None)
        return getattr(given, "own_splits", ()) or ("test",)

    def source(self, name: str) -> Any:
        """Return what the configuration says of a source, or None."""
        return getattr(self, "list_" if name == "list" else name)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the images and labels, as far as the configuration says it."""
        included = {*SOURCES, "list_", "splits", "classnames", "exif_rotation"}
        found = self.model_dump(include=included, by_alias=True)
        return {key: value for key, value in found.items() if value is not None or key not in SOURCES}

    @property
    def text_identity(self) -> dict[str, Any]:
        """What decides the texts, as far as the configuration says it."""
        return {"templates": self.templates, "given_classnames": self.classnames}


class Choice(BaseModel):
    """A method or a score with its parameters; written as a name, or as {name: …, parameter: value}."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that were given."""
        return dict(self.model_extra or {})

    def listed(self, kind: str) -> str:
        """Return the name under which results list it, as `mcm@T=0.5`."""
        return registry.label(self.name, self.params, registry.find(kind, self.name).params)


def _from_catalogue(kind: str) -> Any:
    def look_up(given: Any) -> Any:
        return {"name": given, **catalogue.entry(kind, given)} if isinstance(given, str) else given

    return look_up


def _choice(kind: str) -> Any:
    def check(given: Any) -> Any:
        given = {"name": given} if isinstance(given, str) else given
        if isinstance(given, dict):
            if not isinstance(given.get("name"), str):
                raise OodgridError(f"a {kind} is written as its name or as {{name: …}}, not {given!r}")
            params = {key: value for key, value in given.items() if key != "name"}
            given = {"name": given["name"], **registry.check_params(kind, given["name"], params)}
        return given

    return check


DatasetEntry = Annotated[Dataset, BeforeValidator(_from_catalogue("dataset"), json_schema_input_type=str | Dataset)]
BackboneEntry = Annotated[Backbone, BeforeValidator(_from_catalogue("backbone"), json_schema_input_type=str | Backbone)]
MethodChoice = Annotated[Choice, BeforeValidator(_choice("method"), json_schema_input_type=str | Choice)]
ScoreChoice = Annotated[Choice, BeforeValidator(_choice("score"), json_schema_input_type=str | Choice)]


class Ood(Strict):
    """The OOD sets of one ID set, by kind: the kind belongs to the pair."""

    near: list[DatasetEntry] = []
    far: list[DatasetEntry] = []
    covariate: list[DatasetEntry] = []


class IdDataset(Dataset):
    """An in-distribution dataset with the sets it is held against."""

    ood: Ood = Field(description="OOD sets by kind: near, far, covariate.")
    allow_overlap: bool = Field(False, description="Take OOD sets whose classes overlap; tables mark them.")

    def pairs(self) -> Iterator[tuple[str, Dataset]]:
        """Yield the kind and the dataset of every OOD set, in the order of the configuration."""
        for kind in KINDS:
            for dataset in getattr(self.ood, kind):
                yield kind, dataset

    def overlap_with(self, dataset: Dataset) -> str | None:
        """Return why an OOD set is not out-of-distribution here, or None."""
        if dataset.name == self.name:
            return "it is the ID set itself"
        if recorded := catalogue.overlap(self.name, dataset.name):
            return recorded
        if self.concept_world and dataset.concept_world and self.concept_world.group == dataset.concept_world.group:
            return f"both show the classes of Concept World's group {self.concept_world.group}"
        shared = {_plain(name) for name in self.classnames or ()} & {_plain(name) for name in dataset.classnames or ()}
        if shared:
            return f"both have {len(shared)} class{'es'[: 2 * (len(shared) > 1)]}, as '{min(shared)}'"
        return None


class Experiment(Strict):
    """The grid: every backbone x ID set x method x shots x seed, under every score, against every OOD set."""

    experiment: Slug = Field(description="Results go to results/<experiment>/.")
    backbones: list[BackboneEntry] = Field(min_length=1, description="Names from the catalogue, or entries.")
    id_datasets: list[IdDataset] = Field(min_length=1)
    methods: list[MethodChoice] = Field(min_length=1, description="oodgrid list methods")
    shots: list[Annotated[int, Field(ge=1)]] = Field([1, 2, 4, 8, 16], min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field([1, 2, 3], min_length=1)
    scores: list[ScoreChoice] = Field(min_length=1, description="oodgrid list scores")

    @model_validator(mode="after")
    def _sound(self) -> Experiment:
        if self.experiment in SHARED_FOLDERS:
            raise OodgridError(f"results/{self.experiment}/ belongs to all experiments: give this one another name")
        for what, names in self._names().items():
            double = next((name for name in names if names.count(name) > 1), None)
            if double is not None:
                raise OodgridError(f"{what} {double} is listed twice: take one out")
        for id_dataset in self.id_datasets:
            self._check_pairs(id_dataset)
            self._check_views(id_dataset)
        self._check_one_meaning()
        return self

    def _names(self) -> dict[str, list[Any]]:
        lists = {
            "backbone": [backbone.name for backbone in self.backbones],
            "ID dataset": [dataset.name for dataset in self.id_datasets],
            "method": [method.listed("method") for method in self.methods],
            "score": [score.listed("score") for score in self.scores],
            "shots": self.shots,
            "seed": self.seeds,
        }
        for id_dataset in self.id_datasets:
            lists[f"OOD set of {id_dataset.name}:"] = [dataset.name for _, dataset in id_dataset.pairs()]
        return lists

    def _check_pairs(self, id_dataset: IdDataset) -> None:
        if id_dataset.classnames is not None and len(id_dataset.classnames) < 2:
            raise OodgridError(f"ID dataset {id_dataset.name} has one class only: scores over classes need two or more")
        if not list(id_dataset.pairs()):
            raise OodgridError(
                f"ID dataset {id_dataset.name} has no OOD set: name one under ood: near, far or covariate"
            )
        for kind, dataset in id_dataset.pairs():
            why = None if kind == "covariate" or id_dataset.allow_overlap else id_dataset.overlap_with(dataset)
            if why:
                raise OodgridError(
                    f"OOD set {dataset.name} overlaps ID set {id_dataset.name}: {why}. Take it out, or write "
                    f"allow_overlap: true under {id_dataset.name} (tables will mark the pair)"
                )

    def _check_views(self, id_dataset: IdDataset) -> None:
        families = [views.family for views in id_dataset.views]
        if families and "train" not in id_dataset.split_names:
            raise OodgridError(f"ID dataset {id_dataset.name} has no training split to make views of")
        if len(set(families)) < len(families):
            raise OodgridError(f"ID dataset {id_dataset.name} lists one family of views twice: take one out")
        for method in self.methods:
            wanted = method.params.get("views")
            if wanted and wanted not in families and not id_dataset.imported:
                raise OodgridError(
                    f"method {method.listed('method')} wants views that ID dataset {id_dataset.name} does not have: "
                    f"write views: [{{family: {wanted}}}] under it"
                )

    def _check_one_meaning(self) -> None:
        meanings: dict[str, Dataset] = {}
        for dataset in self.datasets():
            first = meanings.setdefault(dataset.name, dataset)
            if first.identity != dataset.identity:
                raise OodgridError(f"dataset {dataset.name} is described in two ways: give one another name")

    def datasets(self) -> Iterator[Dataset]:
        """Yield every dataset that is named, ID sets first; a name may come more than once."""
        yield from self.id_datasets
        for id_dataset in self.id_datasets:
            yield from (dataset for _, dataset in id_dataset.pairs())

    def dataset(self, name: str) -> Dataset:
        """Return the dataset of that name."""
        return _named(self.datasets(), "dataset", name)

    def backbone(self, name: str) -> Backbone:
        """Return the backbone of that name."""
        return _named(self.backbones, "backbone", name)

    def id_dataset(self, name: str) -> IdDataset:
        """Return the ID dataset of that name."""
        return _named(self.id_datasets, "ID dataset", name)

    def method(self, label: str) -> Choice:
        """Return the method that is listed under that name."""
        listed = {method.listed("method"): method for method in self.methods}
        if label not in listed:
            raise unknown("method of this experiment", label, listed)
        return listed[label]

    def overlaps(self) -> list[tuple[str, str]]:
        """Return the (ID set, OOD set) pairs that were taken in spite of overlapping classes."""
        return [
            (id_dataset.name, dataset.name)
            for id_dataset in self.id_datasets
            for kind, dataset in id_dataset.pairs()
            if kind != "covariate" and id_dataset.overlap_with(dataset)
        ]


def load(path: Path) -> Experiment:
    """Read an experiment file (YAML or JSON).

    Raises:
        OodgridError: The file is missing, is no YAML or says something that does not exist or fit.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OodgridError(f"cannot read config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OodgridError(f"config {path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise OodgridError(f"config {path} is not valid YAML{where}: {problem}") from error
    return parse(raw)


def parse(raw: Any) -> Experiment:
    """Return the experiment that a parsed configuration describes.

    Raises:
        OodgridError: It says something that does not exist or does not fit.
    """
    if not isinstance(raw, dict):
        raise OodgridError("the config is empty or no mapping: see config.yaml for an example")
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise OodgridError(
            f"config: {place}: {first['msg']} (given: {json.dumps(first['input'], default=str)[:80]})"
        ) from None


def schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}


def expand(path: str) -> Path:
    """Return a path of the configuration with `~`, `${NAME}` and `${NAME:-default}` filled in.

    Raises:
        OodgridError: A variable without a default is not set.
    """

    def value(match: re.Match) -> str:
        name, _, default = match[1].partition(":-")
        found = os.environ.get(name) or default
        if not found:
            raise OodgridError(f"{path}: the environment variable {name} is not set: export {name}=…")
        return found

    return Path(re.sub(r"\$\{([^}]+)\}", value, path)).expanduser()


def _named(things: Any, kind: str, name: str) -> Any:
    found = {thing.name: thing for thing in things}
    if name not in found:
        raise unknown(f"{kind} of this experiment", name, found)
    return found[name]


def _content(name: str) -> str | None:
    """Return the digest of a file of the package or the user; None where it is not there (features may be, without)."""
    if name.startswith(catalogue.PACKAGE):
        return catalogue.file_sha256(name)
    path = expand(name)
    return file_sha256(path) if path.is_file() else None


def _in_order(splits: Iterable[str]) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if split in splits)


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()


def _spaced(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
