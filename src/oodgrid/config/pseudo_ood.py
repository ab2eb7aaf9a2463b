"""Pseudo-OOD texts: how texts out of distribution are made of the training texts of a dataset."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from oodgrid import registry
from oodgrid.config.base import Seed, Slug, Strict
from oodgrid.config.choice import Choice
from oodgrid.errors import OodgridError


class PseudoOod(Strict):
    """Texts out of distribution, made of those of each few-shot draw; methods take them by `pseudo_ood: NAME`."""

    name: Slug = Field("keywords", description="By which methods take them, as {name: poore, pseudo_ood: keywords}.")
    words: Literal["keywords", "random", "none"] = Field(
        "keywords",
        description="Which words of a text are changed: those with the highest tf-idf in its class, as many at random, "
        "or none.",
    )
    by: Literal["other_classes", "nothing"] = Field(
        "other_classes",
        description="What stands in their place: words of the other classes that its own has not, or nothing.",
    )
    shuffle: bool = Field(False, strict=True, description="The words of the text in a random order, too.")
    share: float = Field(0.5, gt=0, le=1, description="Of the different words of a text, how many are changed at most.")
    count: int = Field(1, strict=True, ge=1, le=100, description="Texts made of each training text.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _changes_something(self) -> PseudoOod:
        if self.words != "none":
            return self
        if not self.shuffle:
            raise OodgridError(
                f"pseudo_ood {self.name}: words: none without shuffle changes nothing, and its texts would be those of "
                "the classes: write shuffle: true, or take words out"
            )
        for key in ("by", "share"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise OodgridError(f"pseudo_ood {self.name}: words: none does not read {key}: take {key} out")
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the texts; the name says only how methods call them."""
        return self.model_dump(exclude={"name"})


def pseudo_ood_name(method: Choice) -> str | None:
    """Return by what name a method takes pseudo-OOD texts, as it is written or by default; None where it takes none.

    A method may take none by another parameter, as `poore` with weight 0.
    """
    entry = registry.find("method", method.name)
    return entry.make(**method.params).pseudo_ood if "pseudo_ood" in entry.params else None
