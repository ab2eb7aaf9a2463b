"""An experiment, as a user writes it: the grid, and what makes it sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from oodgrid import catalogue, registry
from oodgrid.config.backbone import Backbone
from oodgrid.config.base import Slug, Strict, expand
from oodgrid.config.dataset import Dataset
from oodgrid.config.label_list import LabelList
from oodgrid.errors import OodgridError, unknown

KINDS = ("near", "far", "covariate")
SHARED_FOLDERS = ("features", "text", "kept")


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


def _spread(given: Any) -> list[Any]:
    """Return a score once for each value, where a parameter is given as a list of them: {name: mcm, T: [0.5, 1]}."""
    lists = (
        {key: values for key, values in given.items() if isinstance(values, list)} if isinstance(given, dict) else {}
    )
    return [given | dict(zip(lists, values, strict=True)) for values in product(*lists.values())] if lists else [given]


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

    near: list[DatasetEntry] = Field([])
    far: list[DatasetEntry] = Field([])
    covariate: list[DatasetEntry] = Field([])


class IdDataset(Dataset):
    """An in-distribution dataset with the sets it is held against."""

    ood: Ood = Field(description="OOD sets by kind: near, far, covariate.")
    allow_overlap: bool = Field(False, description="Take OOD sets whose classes overlap; tables mark them.")
    leaky_selection_on_test: bool = Field(
        False,
        description="Choose hyper-parameters on the whole test split, as some published numbers did; tables say so.",
    )

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
    plugins: list[str] = Field([], description="Python files with scores or methods of your own.")
    backbones: list[BackboneEntry] = Field(min_length=1, description="Names from the catalogue, or entries.")
    id_datasets: list[IdDataset] = Field(min_length=1)
    methods: list[MethodChoice] = Field(min_length=1, description="oodgrid list methods")
    shots: list[Annotated[int, Field(ge=1)]] = Field([1, 2, 4, 8, 16], min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field([1, 2, 3], min_length=1)
    scores: list[ScoreChoice] = Field(min_length=1, description="oodgrid list scores")
    label_lists: list[LabelList] = Field([], description="Lists that scores may name, beside oodgrid list label_lists.")

    @model_validator(mode="before")
    @classmethod
    def _load_plugins(cls, data: Any) -> Any:
        named = (data.get("plugins") if isinstance(data, dict) else None) or []
        if isinstance(named, str):
            raise OodgridError(f"plugins is a list of files: write plugins: [{named}]")
        for file in named if isinstance(named, list) else ():
            registry.load_plugin(expand(str(file)))
        return data

    @field_validator("scores", mode="before")
    @classmethod
    def _one_score_a_value(cls, given: Any) -> Any:
        return [each for score in given for each in _spread(score)] if isinstance(given, list) else given

    @model_validator(mode="after")
    def _sound(self) -> Experiment:
        if self.experiment in SHARED_FOLDERS:
            raise OodgridError(f"results/{self.experiment}/ belongs to all experiments: give this one another name")
        for what, names in self._names().items():
            double = next((name for name in names if names.count(name) > 1), None)
            if double is not None:
                raise OodgridError(f"{what} {double} is listed twice: take one out")
        if all(registry.find("score", score.name).transductive for score in self.scores):
            raise OodgridError(
                "every score is transductive, and tables and figures compare scores of single samples: list one, as mcm"
            )
        for id_dataset in self.id_datasets:
            self._check_pairs(id_dataset)
            self._check_views(id_dataset)
        self._check_one_meaning()
        self._check_lists()
        return self

    def _names(self) -> dict[str, list[Any]]:
        lists = {
            "backbone": [backbone.name for backbone in self.backbones],
            "ID dataset": [dataset.name for dataset in self.id_datasets],
            "method": [method.listed("method") for method in self.methods],
            "score": [score.listed("score") for score in self.scores],
            "label list": [labels.name for labels in self.label_lists],
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

    def _check_lists(self) -> None:
        for score in self.scores:
            for parameter, name in self.lists_of(score).items():
                if not isinstance(name, str):
                    raise OodgridError(
                        f"score {score.name} needs a list of labels: write {{name: {score.name}, {parameter}: NAME}} "
                        "with the name of an entry under label_lists:, or of oodgrid list label_lists"
                    )
                try:
                    self.label_list(name)
                except OodgridError as error:
                    raise OodgridError(f"score {score.name}, {parameter}: {error}") from None
        for labels in self.label_lists:
            if labels.drop_classes_of:
                self.id_dataset(labels.drop_classes_of)

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

    def lists_of(self, score: Choice) -> dict[str, str]:
        """Return the names of the label lists that a score is given, by its parameters."""
        entry = registry.find("score", score.name)
        return {parameter: (entry.params | score.params)[parameter] for parameter in entry.label_lists}

    def label_list(self, name: str) -> LabelList:
        """Return the label list of that name: one of the experiment's own, or else of the catalogue."""
        own = {labels.name: labels for labels in self.label_lists}
        known = catalogue.entries("label_list")
        if name not in own and name not in known:
            raise unknown("label list", name, {*own, *known})
        return own[name] if name in own else LabelList(name=name)

    def wanted_lists(self, scores: Iterable[Choice] | None = None) -> list[LabelList]:
        """Return the label lists that some scores (default: all) are given, each once."""
        names = [
            name for score in (self.scores if scores is None else scores) for name in self.lists_of(score).values()
        ]
        return [self.label_list(name) for name in dict.fromkeys(names)]

    def overlaps(self) -> list[tuple[str, str]]:
        """Return the (ID set, OOD set) pairs that were taken in spite of overlapping classes."""
        return [
            (id_dataset.name, dataset.name)
            for id_dataset in self.id_datasets
            for kind, dataset in id_dataset.pairs()
            if kind != "covariate" and id_dataset.overlap_with(dataset)
        ]


def _named(things: Any, kind: str, name: str) -> Any:
    found = {thing.name: thing for thing in things}
    if name not in found:
        raise unknown(f"{kind} of this experiment", name, found)
    return found[name]


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()
