"""A list of labels that are not the classes, as a user writes it: negative labels, outliers, neutral agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from oodgrid import catalogue
from oodgrid.config.base import Seed, Slug, Strict, expand
from oodgrid.config.class_choice import without_limit
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.identity import digest, file_sha256, is_file

SOURCES = ("file", "labels", "lexicographer", "noise_images", "imported")
SUFFIXES = (".txt", ".csv", ".parquet", ".json")
TEMPLATES = ["a photo of a {}."]
DATABASE = {"noun": "data.noun", "adj": "data.adj"}  # WordNet's own files (wndb(5WN)), by the first part of a lexname

Texts = Annotated[list[str], Field(min_length=1)]
ByKind = Annotated[dict[str, Texts], Field(min_length=1)]


class Lexicographer(Strict):
    """WordNet's nouns and adjectives by lexicographer file: a folder of word lists, or of WordNet's database files."""

    folder: str = Field(description="With noun.act.txt, adj.all.txt, … one word a line, or data.noun and data.adj.")
    lexnames: list[str] | None = Field(
        None,
        min_length=1,
        description="As noun.act, adj.all; a word of two counts for the first. Default: all, by alphabet.",
    )
    without: list[str] = Field([], description="Lexnames to leave out.")
    pool: Literal["csp"] | None = Field(
        None,
        description="csp, conjugated semantic pool: every adjective with one of 14 superclasses, as 'red object'.",
    )
    seed: Seed = Field(0, description="Of the draw of superclasses.")

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the words: which are taken, and the content of the files as far as they are there."""
        folder = expand(self.folder)
        files = [file for file in sorted(folder.glob("*")) if file.name in DATABASE.values() or _is_word_list(file)]
        fields = self.model_dump(exclude={"folder"} if self.pool else {"folder", "seed"})
        return {**fields, "files_sha256": digest({file.name: file_sha256(file) for file in files})} if files else fields


class ImportedTexts(Strict):
    """Text features of a list that somebody else computed; `oodgrid import` brings them in."""

    text: str | None = Field(None, description="Text features (M, D) of one template, .pt or .npy.")
    labels: str | None = Field(None, description="File with the M labels, as file: takes it.")


class LabelList(Strict):
    """A list of labels: a name and exactly one source. A score's parameter names it, and is given its texts."""

    name: Slug = Field(description="The name of this list in results/ and in parameters of scores.")
    file: str | None = Field(None, description=f"{', '.join(SUFFIXES)}: see docs/texts.md.")
    labels: Texts | ByKind | None = Field(None, description="The labels themselves, or labels by kind.")
    lexicographer: Lexicographer | None = None
    noise_images: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=1000,
        description="In place of texts: so many images of each of five noises.",
    )
    imported: ImportedTexts | None = None
    templates: Texts | ByKind = Field(TEMPLATES, description="Prompts with {} for the label, or prompts by kind.")
    lower: bool = Field(False, description="Turn labels to lower case.")
    drop_classes_of: Slug | None = Field(None, description="An ID dataset of whose classes the list is freed.")
    drop: Literal["exact", "word"] = Field(
        "exact", description="exact: labels that are a class. word: labels that share a word with one (EOE, near OOD)."
    )
    joined_to: Slug | None = Field(
        None, description="An ID dataset of whose classes each is joined with every label, as 'class and label'."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_catalogue(cls, data: Any) -> Any:
        named = isinstance(data, dict) and isinstance(data.get("name"), str)
        if named and not set(SOURCES) & set(data) and set(data) <= set(cls.keys()):
            return {**catalogue.entry("label_list", data["name"]), **data}
        return data

    @model_validator(mode="after")
    def _sound(self) -> LabelList:
        sources = [source for source in SOURCES if getattr(self, source) is not None]
        if len(sources) != 1:
            named = " and ".join(sources) or "none"
            raise OodgridError(f"label list {self.name} needs one source of {', '.join(SOURCES)}; it names {named}")
        if self.file and not self.file.endswith(SUFFIXES):
            raise OodgridError(f"label list {self.name}: {self.file} is none of {', '.join(SUFFIXES)}")
        if self.drop_classes_of and self.joined_to not in (None, self.drop_classes_of):
            raise OodgridError(
                f"label list {self.name}: drop_classes_of names {self.drop_classes_of} and joined_to {self.joined_to}: "
                "name the one ID dataset whose classes are meant"
            )
        self._check_templates()
        changed = [field for field in ("lower", "drop_classes_of", "joined_to") if getattr(self, field)]
        if self.imported and changed:
            raise OodgridError(f"label list {self.name}: {changed[0]} would change what was imported: take it out")
        if self.noise_images and (changed or self.templates != TEMPLATES):
            raise OodgridError(f"label list {self.name}: {(*changed, 'templates')[0]} is of texts: take it out")
        return self

    def _check_templates(self) -> None:
        by_kind = self.templates if isinstance(self.templates, dict) else {"": self.templates}
        for template in (template for templates in by_kind.values() for template in templates):
            if "{}" not in template:
                raise OodgridError(f"label list {self.name}: template {template!r} lacks {{}}, the place of the label")
        most = max(map(len, by_kind.values()))
        for kind, templates in by_kind.items():
            if most % len(templates):
                raise OodgridError(
                    f"label list {self.name}: {counted(len(templates), 'template')} for {kind} and {most} for "
                    "another kind: every "
                    "kind needs as many, or a whole part of it, which then repeats"
                )
        if self.imported and (isinstance(self.templates, dict) or len(self.templates) > 1):
            raise OodgridError(f"label list {self.name}: imported texts are of one template: write templates: [PROMPT]")

    @property
    def classes_of(self) -> str | None:
        """The ID dataset whose classes decide its texts, where there is one."""
        return self.drop_classes_of or self.joined_to

    @property
    def source_files(self) -> list[Path]:
        """The file or folder of the user's own that it is read from; none where there is no such thing."""
        source = self.file or (self.lexicographer and self.lexicographer.folder)
        return [expand(source)] if source else []

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its texts, as far as the configuration says it; files count by their content."""
        if self.imported:
            return {"templates": self.templates} if self.imported.text else {}
        if self.noise_images:
            return {"noise_images": self.noise_images}
        fields = self.model_dump(include={"templates", "lower", "drop_classes_of"})
        if self.drop_classes_of:
            fields |= {"drop_classes_of": without_limit(self.drop_classes_of), "drop": self.drop}
        if self.joined_to:
            fields["joined_to"] = without_limit(self.joined_to)
        if self.labels:
            fields["given_labels_sha256"] = digest(self.labels)
        elif self.lexicographer:
            fields["lexicographer"] = self.lexicographer.identity
        elif self.file and is_file(expand(self.file)):
            fields["file_sha256"] = file_sha256(expand(self.file))
        return fields


def _is_word_list(file: Path) -> bool:
    return file.suffix == ".txt" and file.name.startswith(("noun.", "adj."))
