"""What a file of published values may say, and what one value is. docs/compare.md describes the form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from oodgrid.config.base import Strict, collected
from oodgrid.errors import OodgridError, brief
from oodgrid.identity import digest

FPR95 = ("fpr95_id_pos", "fpr95_id_pos_mcm", "fpr95_ood_pos")
FPR95_UNSTATED = "fpr95_unstated"  # of a source that does not say which class is positive
KINDS = {  # of tolerance, by metric
    "auroc": "auroc",
    **dict.fromkeys((*FPR95, FPR95_UNSTATED), "fpr95"),
    **dict.fromkeys(("aupr_in", "aupr_out", "aupr_in_balanced", "aupr_out_balanced"), "aupr"),
    "id_accuracy": "id_accuracy",
}
OF_ID = ("id_accuracy",)  # metrics that no OOD set has a say in
Count = Annotated[int, Field(ge=1)]
Points = Annotated[float, Field(gt=0, le=100)]


class Named(Strict):
    """A method or a score with the parameters that a source states."""

    name: str
    params: dict[str, Any] = Field({})


def _named(thing: Any) -> Any:
    """Return a method or score, written as a name or as {name: …, parameter: value}, as the fields of `Named`."""
    if isinstance(thing, str):
        return {"name": thing}
    if isinstance(thing, dict) and isinstance(thing.get("name"), str):
        return {"name": thing["name"], "params": {key: value for key, value in thing.items() if key != "name"}}
    raise OodgridError(f"a method or score is written as its name or as {{name: …}}, not {brief(thing)}")


Choice = Annotated[Named, BeforeValidator(collected(_named))]


class Encoder(Strict):
    """A backbone as a source states it; what it does not state is not compared."""

    model: str
    pretrained: str
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize: Count | None = None


class Setting(Strict):
    """In what setting a number was found.

    Attributes:
        backbone: The encoder.
        id: The ID set, by its name under `datasets`.
        n_id: ID samples; None: as many as the set has.
        method: How the encoder was fine-tuned.
        shots: Images a class; 0 without.
        seeds: Fits behind a mean.
        score: None where it is stated for no number of the source, as for accuracies.
        prompt: Templates; "learned" where none has a say.
        leaky_selection_on_test: Whether something was chosen on the test set.
    """

    backbone: Encoder
    id: str
    n_id: Count | Literal["unstated"] | None = None
    method: Choice
    shots: Annotated[int, Field(ge=0)]
    seeds: Count = 1
    score: Choice | None = None
    prompt: Annotated[list[str], Field(min_length=1)] | Literal["learned", "unstated"] = "unstated"
    leaky_selection_on_test: bool = False


class Tolerance(Strict):
    """How far a number may lie from a published one, in points of percent, by kind of metric."""

    auroc: Points | None = None
    fpr95: Points | None = None
    aupr: Points | None = None
    id_accuracy: Points | None = None
    why: Annotated[str, Field(min_length=1)]


class DatasetNames(Strict):
    """What the name of a dataset means in these files.

    Attributes:
        names: The names of datasets that count as it.
        count: Test images.
    """

    names: list[str] = Field([])
    count: Count | None = None
    about: str = ""


class Source(Strict):
    """What one work, or one log, published."""

    title: Annotated[str, Field(min_length=1)]
    paper: str
    read: Annotated[str, Field(min_length=1)]
    note: str = ""
    unit: Literal["percent", "fraction"]
    sd_published: bool
    tolerance: Tolerance
    setting: dict[str, Any]
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Content(Strict):
    """A file of published values."""

    datasets: dict[str, DatasetNames] = Field({})
    sources: Annotated[dict[str, Source], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _only_mappings(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("sources"):
            raise OodgridError("no sources: docs/compare.md has an example")
        return data


@dataclass(frozen=True)
class Value:
    """One published number.

    Attributes:
        source: The key of its source.
        about: The source.
        setting: In which it was found.
        id: Which names count as the ID set.
        n_id: ID samples; None where that is not stated.
        oods: The OOD sets, whose plain mean it is, by name: which names count as each, and how many samples.
        metric: A column of metrics.parquet, or `FPR95_UNSTATED`.
        number: A fraction.
    """

    source: str
    about: Source
    setting: Setting
    id: DatasetNames
    n_id: int | None
    oods: dict[str, DatasetNames]
    metric: str
    number: float

    @property
    def tolerance(self) -> float:
        """How far a number may lie from it, a fraction."""
        points = getattr(self.about.tolerance, KINDS[self.metric])
        return points / 100

    @property
    def key(self) -> str:
        """What it is a number of: two that share it are one thing."""
        setting = self.setting.model_dump(mode="json")
        return digest(
            [self.source, setting, self.n_id, {name: its.count for name, its in self.oods.items()}, self.metric]
        )
