"""A backbone, as a user writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from oodgrid import catalogue
from oodgrid.config.base import MOST, Seed, Slug, Strict, from_catalogue
from oodgrid.config.class_head import BESIDE, INSTALLED, ClassHead, content, place_of
from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError
from oodgrid.identity import digest, file_sha256, is_file, is_there

__all__ = ["BESIDE", "INSTALLED", "TIMM", "Backbone", "ClassHead", "Conse"]

TRANSFORMERS = "transformers"  # the `model` of an encoder or decoder of texts alone
TIMM = "timm/"
CONSE = "conse"  # the `model`, and `pretrained`, of a space that is made of a classifier and an encoder of texts
WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")
ONE_OR_BOTH: list[JsonValue] = [{"required": ["model", "pretrained"]}, {"required": ["conse"]}]  # for editors
OF_TEXTS = {"pooling", "layer", "max_length", "lowercase", "prefix"}
OF_IMAGES = {"decode", "local_features"}
OF_TIMM = {"head", "match"}
# Of a folder of transformers or sentence-transformers, what nobody reads here. All else decides its numbers: which
# files a tokenizer takes, as added_tokens.json or spm.model, its library knows, and a list of them would lack some.
NOT_READ = (
    *(".*", "*.md", "*.py", "LICENSE*", "data_config.json", "config_sentence_transformers.json"),
    *("generation_config.json", "trainer_state.json", "finetuning.json"),
    *("*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf"),  # other weights
)
PREPROCESSING = {"size", "resize", "interpolation", "resize_mode", "mean", "std"}


class Backbone(Strict):
    """Architecture, weights, preprocessing and precision together: two interpolations are two backbones."""

    model_config = ConfigDict(json_schema_extra={"required": ["name"], "anyOf": ONE_OR_BOTH})

    name: Slug = Field(description="The name of this backbone in results/ and tables.")
    model: str = Field(
        description="An open_clip model, for OpenAI's weights one that ends in -quickgelu; timm/NAME, without text; or "
        "transformers, for texts alone."
    )
    pretrained: str = Field(
        description="A tag of open_clip or timm, a .pt or .safetensors file, package:FILE, installed:PACKAGE/FILE, or "
        "random. Of transformers a folder with config.json, tokenizer.json and .safetensors; "
        "installed:PACKAGE/FOLDER; or a name on the hub."
    )
    match: Literal["order"] | None = Field(
        None,
        description="order: a file of weights for timm whose tensors have other names, and come in the order of "
        "timm's with the same shapes and the same last words. Default: names are the same.",
    )
    head: ClassHead | None = Field(
        None, description="Of timm: the network has a classification head, which text: own_head and own_head take."
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
        "padding too. Default: as the folder of sentence-transformers says. Of a transformer of timm: mean (of the "
        "patches) or cls in place of its own.",
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
    prefix: str | None = Field(
        None,
        max_length=1000,
        description="Of transformers: what stands before every text, as E5's 'query: '. Default: nothing; where "
        "sentence-transformers would put something there, it or `none` must be written.",
    )

    conse: Conse | None = Field(
        None, description="In place of model and pretrained: a joint space of a classifier and an encoder of texts."
    )

    @classmethod
    def prepare(cls, data: dict[str, Any], left_out: set[str]) -> None:
        """Fill in what conse: stands for, and refuse a backbone of the catalogue with other fields: that is another."""
        if data.get("conse") is not None:
            data.setdefault("model", CONSE)
            data.setdefault("pretrained", CONSE)
        name = data.get("name")
        known = catalogue.entries("backbone").get(name) if isinstance(name, str) else None
        if known is not None and data.keys().isdisjoint({"model", "pretrained"}):
            left_out |= {"model", "pretrained"}
            fields = ", ".join(f"{key}: {value}" for key, value in {"name": f"my-{name}", **known}.items())
            raise OodgridError(
                f"backbone {name} is the catalogue's: list its name alone, or write yours whole: {{{fields}, …}}"
            )

    @model_validator(mode="after")
    def _check_conse(self) -> Backbone:
        if self.conse is None:
            if self.model == CONSE:
                raise OodgridError(f"backbone {self.name}: model: {CONSE} needs conse: {{classifier: …, text: …}}")
            return self
        keys = self.model_dump(exclude_defaults=True).keys() - {"name", "conse", "precision", "local_features"}
        if others := sorted(key for key in keys if getattr(self, key) != CONSE):
            raise OodgridError(
                f"backbone {self.name}: {', '.join(others)} {plural(len(others), 'is', 'are')} for one network, and "
                "conse joins two: write it under classifier or text"
            )
        if self.local_features:
            raise OodgridError(f"backbone {self.name}: a space of conse has no local features: take local_features out")
        return self

    @model_validator(mode="after")
    def _check_samples(self) -> Backbone:
        of_images = {*PREPROCESSING, *OF_IMAGES, *OF_TIMM, "model_config_file", "seed", "sha256"}
        of_texts = OF_TEXTS - ({"pooling"} if self.is_timm else set())
        what, wrong = ("images", of_images) if not self.takes_images else ("transformers", of_texts)
        defaults = {
            key: field.default for key, field in type(self).model_fields.items()
        }  # as records of backbones have
        if wrong_keys := sorted(key for key in self.model_fields_set & wrong if getattr(self, key) != defaults[key]):
            whose = "takes texts alone" if what == "images" else f"is {self.model}"
            mend = f"{', '.join(wrong_keys)} {plural(len(wrong_keys), 'is', 'are')} for {what}: take it out"
            raise OodgridError(f"backbone {self.name} {whose}, and {mend}")
        if not self.takes_images and self.pretrained == "random":
            raise OodgridError(f"backbone {self.name}: transformers needs a folder of weights: name it by pretrained:")
        self._check_timm()
        return self

    def _check_timm(self) -> None:
        """Refuse what only networks of timm have."""
        if self.is_timm and self.pooling not in (None, "mean", "cls"):
            raise OodgridError(f"backbone {self.name}: pooling of a network of timm is mean or cls, not {self.pooling}")
        if self.match and not (self.is_timm and self.weights_file):
            raise OodgridError(f"backbone {self.name}: match is for a file of weights of a network of timm")
        if self.head and not self.is_timm and self.head.weights is None:
            raise OodgridError(
                f"backbone {self.name}: only a network of timm brings its head along: name a file by head: weights:"
            )

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
    def before_texts(self) -> str:
        """What stands before every text."""
        return "" if self.prefix in (None, "none") else str(self.prefix)

    @property
    def is_timm(self) -> bool:
        """Whether it is a network of timm, which takes images alone."""
        return self.model.startswith(TIMM)

    @property
    def takes_texts(self) -> bool:
        """Whether it has a text tower, as far as the configuration says it."""
        return not self.is_timm

    @property
    def text_encoder(self) -> Backbone:
        """The backbone whose text tower it has: itself, unless it joins two."""
        return self if self.conse is None else self.conse.text

    @property
    def encoders(self) -> list[Backbone]:
        """The backbones with weights of their own: itself, or the two that it joins."""
        return [self] if self.conse is None else [self.conse.classifier, self.conse.text]

    @property
    def text_folder(self) -> Path | None:
        """The folder of a model of transformers, which need not be there; None where `pretrained` is no folder."""
        if self.takes_images:
            return None
        path = place_of(self.pretrained)
        if self.pretrained.startswith(INSTALLED):
            return path
        is_name = len(path.parts) == 2 and not path.is_absolute()  # of the hub, as OWNER/NAME
        return None if is_name and not is_there(path) else path

    @property
    def weights_file(self) -> Path | None:
        """The file of the weights, or None where `pretrained` is a tag; it need not be there."""
        if not self.takes_images:
            return None
        path = place_of(self.pretrained)
        is_placed = self.pretrained.startswith((catalogue.PACKAGE, INSTALLED))
        return path if is_placed or path.suffix in WEIGHTS or is_file(path) else None

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What the configuration changes of the weights' own preprocessing."""
        return self.model_dump(include=PREPROCESSING, exclude_none=True)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers that this backbone gives, as far as the configuration says it.

        Files count by their content and not by their place.
        """
        if self.conse is not None:
            return {"model": self.model, "precision": self.precision, "conse": self.conse.identity}
        fields = self.model_dump(mode="json", exclude={"name", "sha256", "seed", "model_config_file", "head"})
        if self.model_config_file:
            fields["model_config_sha256"] = _content_of(self.model_config_file)
        if self.pretrained == "random":
            fields["seed"] = self.seed
        elif self.weights_file is not None:
            fields["pretrained"] = "file"
            fields["pretrained_sha256"] = self.sha256 or _content_of(self.pretrained)
        elif (folder := self.text_folder) is not None:
            fields["pretrained"] = "folder"
            fields["pretrained_sha256"] = _content_of_folder(folder)
        asked = {key: fields.pop(key) for key in sorted(OF_TEXTS)}
        if not self.before_texts:  # as in features of before there were prefixes
            del asked["prefix"]
        fields |= {"pooling": asked["pooling"]} if self.is_timm else {}  # None, as always was, is left out below
        others: set[str] = set() if self.takes_images else {*PREPROCESSING, *OF_IMAGES}
        fields = {key: value for key, value in fields.items() if key not in others}
        fields = {key: value for key, value in fields.items() if value is not None or key in PREPROCESSING}
        # None too, so that a setting which is taken out again is another one; what it came to, the encoder adds
        return fields if self.takes_images else fields | {"asked": asked}


Encoder = Annotated[Backbone, from_catalogue("backbone", Backbone)]


class Conse(Strict):
    """A joint space of two encoders: an image is the mean of the texts of its likeliest classes (ConSE)."""

    classifier: Encoder = Field(description="A backbone with a head that names its classes.")
    text: Encoder = Field(description="A backbone with a text tower.")
    top: int = Field(10, ge=1, le=MOST, description="T: so many of the likeliest classes are averaged.")
    template: str = Field("a photo of a {}.", description="Around the name of each class; {} stands for the name.")

    @model_validator(mode="after")
    def _check(self) -> Conse:
        head = self.classifier.head
        if self.classifier.conse is not None:
            raise OodgridError(f"conse, classifier: {self.classifier.name} is of conse itself: name its classifier")
        if head is None:
            raise OodgridError(f"conse, classifier: {self.classifier.name} has no head: write head: {{classes: …}}")
        if head.classes == "by_order":
            raise OodgridError("conse, classifier, head: classes: by_order names no class: name the outputs")
        if self.top > len(head.classes):
            raise OodgridError(
                f"conse, top: {self.top} is more than the {counted(len(head.classes), 'class', 'classes')} of the head"
            )
        if not self.text.takes_texts:
            raise OodgridError(f"conse, text: {self.text.name} has no text tower: name another backbone")
        if self.text.conse is not None:
            raise OodgridError(f"conse, text: {self.text.name} is of conse itself: name its encoder of texts")
        for encoder in (self.classifier, self.text):
            if encoder.precision != "fp32" or encoder.local_features:
                key = "local_features" if encoder.local_features else "precision"
                raise OodgridError(f"conse: {key} of {encoder.name} is that of the whole space: take it out there")
        if self.template.count("{}") != 1 or "{" in self.template.replace("{}", ""):
            raise OodgridError(f"conse, template: {self.template!r} has to hold {{}} once, for the name of a class")
        return self

    @property
    def class_texts(self) -> list[str]:
        """The text of each class of the classifier: its name in the template."""
        assert self.classifier.head is not None
        names = [output.rpartition(BESIDE)[2].replace("_", " ") for output in self.classifier.head.classes]
        return [self.template.replace("{}", name) for name in names]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its numbers, as far as the configuration says it."""
        assert self.classifier.head is not None
        classifier = {**self.classifier.identity, "head": self.classifier.head.identity}
        return {"classifier": classifier, "text": self.text.identity, "top": self.top, "template": self.template}


Backbone.model_rebuild()


def _content_of_folder(folder: Path) -> str | None:
    """Return a digest of the weights, the tokenizer and the settings in a folder; None where there are no weights."""
    if not any(folder.glob("*.safetensors")):
        return None
    files = [file for file in folder.glob("*") if not any(map(file.match, NOT_READ))]
    files += folder.glob("*/config.json")  # of modules of sentence-transformers
    return digest({file.relative_to(folder).as_posix(): file_sha256(file) for file in files if file.is_file()})


def _content_of(name: str) -> str | None:
    """Return the digest of a file of the package or the user; None where it is not there (features may be, without)."""
    return catalogue.file_sha256(name) if name.startswith(catalogue.PACKAGE) else content(place_of(name))
