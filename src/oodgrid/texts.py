"""The kinds of text files: name, content, identity, and which scores need them.

The head of a network stands for its classes as texts do, and lies in a file of the same form.

Plan, checks, encoding, the readers of scores, the command line and the one rule of Snakemake iterate `SOURCES`.
To add a kind, write the function that makes its prompts, and its entry in the list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from oodgrid import paths

SHUFFLED_PROMPTS = 10  # of every class; TAG's published number
Prompts = list[tuple[str, list[str]]]  # for each template: what the file calls it, and the K texts of the class names


@dataclass(frozen=True)
class TextSource:
    """One kind of text files.

    Attributes:
        kind: Names the rule, `encode_<kind>`, and the option of `oodgrid encode texts`, `--<kind>`.
        what: In words, as messages say it.
        identity: What decides the texts of an entry of the configuration (an ID dataset or a label list), as far as
            that says it: it stands in the file, and a file that says something else is refused. No two kinds say the
            same, for finished work is found by it.
        prompts: From the templates and the K class names to the texts; None where they are no class names.
        need: By what name a score asks for them and is given them; "" where its parameters name a list of labels.
        averaged: Whether a score is given the mean over the templates, shape (K, D), or each of them, (T, K, D).
        imports: Whether an import may bring them; of other kinds an imported entry has none.
        suffix: Of the file, behind the name of the ID dataset.
        of: What entry they belong to, as rules call it: "id_dataset" or "label_list".
        stands: Of an ID dataset, what its key `text` says where there are such files.
        of_backbone: Whether the backbone brings them along, so that they are made for imported features too.
    """

    kind: str
    what: str
    identity: Callable[[Any], dict[str, Any]]
    prompts: Callable[[Sequence[str], Sequence[str]], Prompts] | None = None
    need: str = ""
    averaged: bool = False
    imports: bool = False
    suffix: str = ""
    of: str = "id_dataset"
    stands: str = "classnames"
    of_backbone: bool = False

    def path(self, results: Path, backbone: str, name: str) -> Path:
        """Return where the texts of an entry lie."""
        if self.of == "label_list":
            return paths.label_texts(results, backbone, name)
        return paths.texts(results, backbone, name, self.suffix)

    def arguments(self, name: str) -> str:
        """Return the arguments of `oodgrid encode texts` that make those of one entry."""
        if self.of == "label_list":
            return f"--label-list {name}"
        return f"--dataset {name}" + (f" --{self.kind}" if self.suffix else "")


def each_template(templates: Sequence[str], names: Sequence[str]) -> Prompts:
    """Return every class name in every template."""
    return [(template, [template.replace("{}", name) for name in names]) for template in templates]


def shuffled_prompts(templates: Sequence[str], names: Sequence[str]) -> Prompts:
    """Return every class name in ten prompts, the first template's with its words in another order for each class."""
    first = templates[0]
    return [
        (f"{first} shuffled, variant {variant + 1}", [shuffled(first, name, variant) for name in names])
        for variant in range(SHUFFLED_PROMPTS)
    ]


def shuffled(template: str, name: str, variant: int) -> str:
    """Return a prompt with its words in an order that depends on the arguments and nothing else.

    The name stays together, and a full stop at the end is left out, as in TAG (Liu & Zach, ECCV 2024;
    github.com/XixiLiu95/TAG), which shuffles the words of "a photo of a NAME" for every class anew.
    """
    import numpy as np  # only here: the command line reads this module at every start

    key = hashlib.sha256(f"{variant}/{template}/{name}".encode("utf-8", "surrogateescape")).digest()
    words = template.removesuffix(".").split()
    order = np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64))).permutation(len(words))
    return " ".join(words[place].replace("{}", name) for place in order)


def _shuffled_identity(dataset: Any) -> dict[str, Any]:
    return {**dataset.text_identity, "templates": dataset.templates[:1], "shuffled": SHUFFLED_PROMPTS}


CLASSES = TextSource(
    "texts", "texts of the class names", attrgetter("text_identity"), each_template, "class_texts", averaged=True,
    imports=True,
)  # fmt: skip
SHUFFLED = TextSource(
    "shuffled", "shuffled prompts of the class names", _shuffled_identity, shuffled_prompts, "prompt_variants",
    suffix=".shuffled",
)  # fmt: skip
HEAD = TextSource(
    "head", "weights of the backbone's own head", lambda dataset: {}, imports=True, suffix=".head", stands="own_head",
    of_backbone=True,
)  # fmt: skip
LABELS = TextSource("labels", "texts of a list of labels", attrgetter("identity"), imports=True, of="label_list")
SOURCES = [CLASSES, SHUFFLED, HEAD, LABELS]


def needs() -> dict[str, TextSource]:
    """Return the kinds of texts for which a score can ask, by the name under which it does."""
    return {source.need: source for source in SOURCES if source.need}
