"""A backbone, as a user writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from oodgrid import catalogue
from oodgrid.config.base import Seed, Slug, Strict, expand
from oodgrid.errors import OodgridError
from oodgrid.identity import file_sha256

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
    seed: Seed = Field(0, description="Of random weights, for trials.")
    model_config_file: str | None = Field(None, description="JSON of the architecture, or package:FILE.")
    precision: Literal["fp32", "tf32", "bf16", "fp16", "amp_bf16", "amp_fp16"] = Field(
        "fp32", description="Arithmetic of the encoder; amp_: mixed. What it changes is measured and recorded."
    )
    size: int | None = Field(
        None, ge=1, le=10_000, description="Pixels a side that the encoder sees. Default: the weights' own."
    )
    resize: int | None = Field(None, ge=1, le=10_000, description="Short side before the centre is cut. Default: size.")
    interpolation: Literal["bicubic", "bilinear"] | None = Field(None, description="Default: the weights' own.")
    resize_mode: Literal["shortest", "longest", "squash"] | None = Field(None, description="Default: the weights' own.")
    mean: tuple[float, float, float] | None = Field(None, description="Default: the weights' own.")
    std: tuple[float, float, float] | None = Field(None, description="Default: the weights' own.")
    decode: Literal["reference", "fast", "nvjpeg"] = Field(
        "reference", description="reference: Pillow, as in every peer's code. nvjpeg: on an NVIDIA GPU."
    )
    local_features: bool = Field(False, description="Keep a feature of every patch too (large: P times the size).")

    @model_validator(mode="after")
    def _refuse_the_quickgelu_trap(self) -> Backbone:
        if self.pretrained == "openai" and not self.model.endswith("-quickgelu"):
            raise OodgridError(
                f"backbone {self.name}: OpenAI's weights were trained with QuickGELU and lose 4 points of accuracy "
                f"without it: write model: {self.model}-quickgelu"
            )
        if self.sha256 and (self.weights_file is None or self.pretrained.startswith(catalogue.PACKAGE)):
            raise OodgridError(f"backbone {self.name}: sha256 is for a file of weights, and {self.pretrained} is none")
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
        fields = self.model_dump(mode="json", exclude={"name", "sha256", "seed", "model_config_file"})
        if self.model_config_file:
            fields["model_config_sha256"] = _content(self.model_config_file)
        if self.pretrained == "random":
            fields["seed"] = self.seed
        elif self.weights_file is not None:
            fields["pretrained"] = "file"
            fields["pretrained_sha256"] = self.sha256 or _content(self.pretrained)
        return {key: value for key, value in fields.items() if value is not None or key in PREPROCESSING}


def _content(name: str) -> str | None:
    """Return the digest of a file of the package or the user; None where it is not there (features may be, without)."""
    if name.startswith(catalogue.PACKAGE):
        return catalogue.file_sha256(name)
    path = expand(name)
    return file_sha256(path) if path.is_file() else None
