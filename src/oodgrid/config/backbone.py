"""A backbone, as a user writes it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from oodgrid import catalogue
from oodgrid.config.base import Seed, Slug, Strict, expand
from oodgrid.counts import plural
from oodgrid.errors import OodgridError
from oodgrid.identity import digest, file_sha256, is_file, is_there

TRANSFORMERS = "transformers"  # the `model` of an encoder or decoder of texts alone
INSTALLED = "installed:"  # stands before a folder within a package of Python
OF_TEXTS = {"pooling", "layer", "max_length", "lowercase"}
OF_IMAGES = {"decode", "local_features"}
# Of a folder of transformers or sentence-transformers, what nobody reads here. All else decides its numbers: which
# files a tokenizer takes, as added_tokens.json or spm.model, its library knows, and a list of them would lack some.
NOT_READ = (
    *(".*", "*.md", "*.py", "LICENSE*", "data_config.json", "config_sentence_transformers.json"),
    *("generation_config.json", "trainer_state.json"),
    *("*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf"),  # other weights
)
PREPROCESSING = {"size", "resize", "interpolation", "resize_mode", "mean", "std"}


class Backbone(Strict):
    """Architecture, weights, preprocessing and precision together: two interpolations are two backbones."""

    name: Slug = Field(description="The name of this backbone in results/ and tables.")
    model: str = Field(
        description="An open_clip model, for OpenAI's weights one that ends in -quickgelu; timm/NAME, without text; or "
        "transformers, for texts alone."
    )
    pretrained: str = Field(
        description="A tag of open_clip or timm, a .pt or .safetensors file, package:FILE, or random. Of transformers "
        "a folder with config.json, tokenizer.json and .safetensors; installed:PACKAGE/FOLDER; or a name on the hub."
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Of the file, checked before it is read.")
    seed: Seed = Field(0, description="Of random weights, for trials.")
    model_config_file: str | None = Field(None, description="JSON of the architecture, or package:FILE.")
    precision: Literal["fp32", "tf32", "bf16", "fp16", "amp_bf16", "amp_fp16"] = Field(
        "fp32",
        description="Arithmetic of the encoder; amp_: mixed. What it changes of images is measured and recorded.",
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

    pooling: Literal["mean", "cls", "last", "mean_with_padding"] | None = Field(
        None,
        description="Of transformers: from tokens to a text. mean_with_padding averages all max_length positions, "
        "padding too. Default: as the folder of sentence-transformers says.",
    )
    layer: int | None = Field(
        None,
        ge=-1,
        le=1000,
        description="Of transformers: whose output is pooled; 0: embeddings. Default: the last.",
    )
    max_length: int | None = Field(
        None, ge=1, le=1_000_000, description="Of transformers: tokens after which a text is cut. Default: its own."
    )
    lowercase: bool = Field(False, description="Of transformers: lower-case texts before its tokenizer sees them.")

    @model_validator(mode="after")
    def _check_samples(self) -> Backbone:
        of_images = {*PREPROCESSING, *OF_IMAGES, "model_config_file", "seed", "sha256"}
        what, wrong = ("images", of_images) if not self.takes_images else ("transformers", OF_TEXTS)
        defaults = {
            key: field.default for key, field in type(self).model_fields.items()
        }  # as records of backbones have
        if wrong_keys := sorted(key for key in self.model_fields_set & wrong if getattr(self, key) != defaults[key]):
            whose = "takes texts alone" if what == "images" else f"is {self.model}"
            mend = f"{', '.join(wrong_keys)} {plural(len(wrong_keys), 'is', 'are')} for {what}: take it out"
            raise OodgridError(f"backbone {self.name} {whose}, and {mend}")
        if not self.takes_images and self.pretrained == "random":
            raise OodgridError(f"backbone {self.name}: transformers needs a folder of weights: name it by pretrained:")
        return self

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
    def takes_images(self) -> bool:
        """Whether it has an image tower."""
        return self.model != TRANSFORMERS

    @property
    def takes_texts(self) -> bool:
        """Whether it has a text tower, as far as the configuration says it."""
        return not self.model.startswith("timm/")

    @property
    def text_folder(self) -> Path | None:
        """The folder of a model of transformers, which need not be there; None where `pretrained` is no folder."""
        if self.takes_images:
            return None
        if self.pretrained.startswith(INSTALLED):
            package, _, inner = self.pretrained.removeprefix(INSTALLED).partition("/")
            spec = find_spec(package) if package.isidentifier() else None
            places = list(spec.submodule_search_locations or ()) if spec else []
            return Path(places[0]) / inner if places else Path(self.pretrained)
        path = expand(self.pretrained)
        is_name = len(path.parts) == 2 and not path.is_absolute()  # of the hub, as OWNER/NAME
        return None if is_name and not is_there(path) else path

    @property
    def weights_file(self) -> Path | None:
        """The file of the weights, or None where `pretrained` is a tag; it need not be there."""
        if not self.takes_images:
            return None
        if self.pretrained.startswith(catalogue.PACKAGE):
            return catalogue.packaged(self.pretrained)
        path = expand(self.pretrained)
        return path if path.suffix in (".pt", ".pth", ".bin", ".safetensors") or is_file(path) else None

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
        elif (folder := self.text_folder) is not None:
            fields["pretrained"] = "folder"
            fields["pretrained_sha256"] = _content_of_folder(folder)
        asked = {key: fields.pop(key) for key in sorted(OF_TEXTS)}
        others: set[str] = set() if self.takes_images else {*PREPROCESSING, *OF_IMAGES}
        fields = {key: value for key, value in fields.items() if key not in others}
        fields = {key: value for key, value in fields.items() if value is not None or key in PREPROCESSING}
        # None too, so that a setting which is taken out again is another one; what it came to, the encoder adds
        return fields if self.takes_images else fields | {"asked": asked}


def _content_of_folder(folder: Path) -> str | None:
    """Return a digest of the weights, the tokenizer and the settings in a folder; None where there are no weights."""
    if not any(folder.glob("*.safetensors")):
        return None
    files = [file for file in folder.glob("*") if not any(map(file.match, NOT_READ))]
    files += folder.glob("*/config.json")  # of modules of sentence-transformers
    return digest({file.relative_to(folder).as_posix(): file_sha256(file) for file in files if file.is_file()})


def _content(name: str) -> str | None:
    """Return the digest of a file of the package or the user; None where it is not there (features may be, without)."""
    if name.startswith(catalogue.PACKAGE):
        return catalogue.file_sha256(name)
    path = expand(name)
    return file_sha256(path) if is_file(path) else None  # also of a name too long for a file
