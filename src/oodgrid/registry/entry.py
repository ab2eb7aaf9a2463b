"""What is known of one registered method or score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter

from oodgrid import signatures
from oodgrid.look import Look
from oodgrid.registry.banks import OF_DRAW, Bank, with_bank
from oodgrid.signatures import OF_METHOD
from oodgrid.streams import Stream


@dataclass(frozen=True)
class Entry:
    """One registered method or score.

    Attributes:
        kind: "method" or "score".
        name: The field's own name, in snake_case; for a method the name of its file.
        make: The method's dataclass, or the score's function.
        needs: What it cannot do without, as "shots", "text", "text_tower" or "logits", "bank", "val|bank".
        params: Parameter names with their defaults.
        leaves: What a method leaves for the scores, "prototypes", "features" or "logits"; "" for a score.
        plugin: The file that it comes from, where that is none of the package's own.
        text_cosines: Whether the logits of a method are cosines with what the text tower makes of prompts, and so
            compare with those of other texts; not of what was trained as vectors, of images, or of sums.
        paper: Where the formula stands.
        summary: The first line of the docstring.
        family: Of a score: "logits", "features", "activations" or "vision-language".
        transductive: Whether a score of a sample depends on the samples before it.
        adapted: What of a score was made for other networks, and how it is used here; "" where nothing was.
        title: What a reader of tables and figures sees, as "Tip-Adapter-F"; the name where none is given.
        look: How figures draw a method, as `Look.parse` has it; None where it takes one that is free.
        normalises: Whether logits of a method, and scores of features under it, are of normalised features, as CLIP's;
            else of features by their own norm, as a classifier has them that was trained so.
        one_class: Whether it says something where there is one class alone; None for a score: by what it needs.
        negatives: Of a method: whether it leaves negative prompts, too.
        bank_logits: Of a score: whether it compares with the logits of labelled samples, beside their features.
    """

    kind: str
    name: str
    make: Callable[..., Any]
    needs: tuple[str, ...]
    params: dict[str, Any]
    leaves: str
    paper: str
    summary: str
    family: str = ""
    transductive: bool = False
    adapted: str = ""
    text_cosines: bool = False
    plugin: Path | None = None
    title: str = ""
    look: Look | None = None
    normalises: bool = True
    one_class: bool | None = None
    negatives: bool = False
    bank_logits: bool = False

    @property
    def learns(self) -> bool:
        """Whether this is a method that learns from shots."""
        return "shots" in self.needs

    @property
    def makes_of_one(self) -> bool:
        """Whether it says something where there is one class alone."""
        if self.one_class is not None:
            return self.one_class
        of_method = OF_METHOD & {each for need in self.needs for each in need.split("|")}
        return not of_method or bool(self.label_lists)

    @property
    def changes_features(self) -> bool:
        """Whether scores of features see others under a method than as cached and normalised."""
        return self.leaves == "features" or not self.normalises

    @property
    def on_features(self) -> bool:
        """Whether this is a score of image features, which does not depend on a method that leaves them alone."""
        return bool({"features", "layer_features"} & set(self.needs)) and not OF_METHOD & set(self.needs)

    @property
    def uses_bank(self) -> bool:
        """Whether a score has a parameter `bank`, which says with which labelled samples it compares."""
        return self.kind == "score" and any("bank" in need.split("|") for need in self.needs)

    def needs_with(self, params: Mapping[str, Any]) -> list[str]:
        """Return what a score with these parameters needs, in the order of its arguments."""
        return [with_bank(need, params) for need in self.needs] if self.uses_bank else list(self.needs)

    def sees_draw(self, params: Mapping[str, Any]) -> bool:
        """Return whether a score with these parameters is given shots or validation samples of the draw of a fit."""
        return any(each in OF_DRAW for need in self.needs_with(params) for each in need.split("|"))

    @property
    def looks_at(self) -> list[str]:
        """What a score looks at beside the sample, as a reader should know at a glance."""
        needs = {each for need in self.needs for each in need.split("|")}
        things = {
            "the samples of the test stream before it": self.transductive,
            "labelled shots": "bank" in needs,
            "validation samples": "val" in needs,
            "texts beside the classes": bool(self.label_lists),
            "the text tower": "text_tower" in needs,
        }
        return [thing for thing, looked_at in things.items() if looked_at]

    @cached_property
    def keeps_state(self) -> bool:
        """Whether a transductive score can go on where it stopped: it takes its memory as a dict of arrays."""
        return self.transductive and signatures.keeps_state(self.make)

    @cached_property
    def label_lists(self) -> tuple[str, ...]:
        """The parameters that name a label list, whose texts the score is given."""
        lists = signatures.label_lists(self.make)
        return tuple(name for name in self.params if name in lists)

    @cached_property
    def types(self) -> dict[str, Any]:
        """The types of the parameters; of one without a type, that of its default."""
        of_defaults = {name: Any if value is None else type(value) for name, value in self.params.items()}
        hints = get_type_hints(self.make, include_extras=True)
        types = of_defaults | hints | dict.fromkeys(self.label_lists, str) | {"bank": Bank}
        if self.transductive and types.get("stream") is str:  # any other word would be taken for mixed
            types["stream"] = Stream
        return types

    def adapter(self, parameter: str, strict: bool) -> TypeAdapter:
        """Return what converts values of a parameter to its type; cached."""
        adapter = self._adapters.get((parameter, strict))
        if adapter is None:
            adapter = TypeAdapter(self.types[parameter], config=ConfigDict(strict=strict, allow_inf_nan=False))
            self._adapters[parameter, strict] = adapter
        return adapter

    @cached_property
    def _adapters(self) -> dict[tuple[str, bool], TypeAdapter]:
        return {}
