"""How names look in print: labels, and a colour, line and marker a method, the same in every figure.

No two methods of an experiment share a marker, nor a colour and line, so that each is told apart in print without
colours too. A registered method has one look for ever; a variant keeps the colour of its method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

# Okabe & Ito, "Color Universal Design" (2008), without yellow, which is too light for lines on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#7F7F7F"
COLOURS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
Line = str | tuple[int, tuple[int, ...]]  # as matplotlib takes it
LINES: tuple[Line, ...] = ("-", "--", ":", "-.", (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (1, 3)))
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d", "H")
MARKS = (*product(SHAPES, (False, True)), *((shape, False) for shape in "+x12|_"))  # shape, and whether it is hollow


@dataclass(frozen=True)
class Look:
    """How a method is drawn.

    Attributes:
        label: What a reader sees.
        colour: Hex triplet.
        marker: Matplotlib marker.
        line: Matplotlib line style.
        hollow: Whether the marker is white inside.
    """

    label: str
    colour: str
    marker: str
    line: Line = "-"
    hollow: bool = False

    @property
    def mark(self) -> tuple[str, bool]:
        """The marker's shape, and whether it is hollow."""
        return self.marker, self.hollow

    @property
    def points(self) -> dict[str, Any]:
        """Matplotlib's options of the marker."""
        face = "white" if self.hollow else self.colour
        return {"marker": self.marker, "markerfacecolor": face, "markeredgecolor": self.colour, "markeredgewidth": 0.8}


METHODS = {
    "zero_shot": Look("Zero-shot", BLACK, "o"),
    "prototype": Look("Prototype", GREY, "s"),
    "linear_probe": Look("Linear probe", SKY, "^"),
    "coop": Look("CoOp", VERMILLION, "D"),
    "cocoop": Look("CoCoOp", ORANGE, "v"),
    "kgcoop": Look("KgCoOp", VERMILLION, "s", "--", hollow=True),
    "prograd": Look("ProGrad", VERMILLION, "^", ":", hollow=True),
    "gallop": Look("GalLoP", VERMILLION, "<", "-."),
    "prompt_src": Look("PromptSRC (text)", ORANGE, "o", "--", hollow=True),
    "locoop": Look("LoCoOp", PURPLE, "D", "--", hollow=True),
    "sct": Look("SCT", PURPLE, "p", ":"),
    "neg_prompt": Look("NegPrompt", BLACK, "v", "--", hollow=True),
    "lsn": Look("LSN", BLACK, "X", ":", hollow=True),
    "zs_lp": Look("ZS-LP", SKY, ">", "--"),
    "clap": Look("CLAP", SKY, "<", ":", hollow=True),
    "lp_plus_plus": Look("LP++", SKY, "p", "-.", hollow=True),
    "opsupcon": Look("OPSupCon (rec.)", GREEN, "P", "--", hollow=True),
    "clip_adapter": Look("CLIP-Adapter", GREEN, "P"),
    "tip_adapter": Look("Tip-Adapter", PURPLE, "X"),
    "tip_adapter_f": Look("Tip-Adapter-F", BLUE, "*"),
    "any": Look("Any method", GREY, "h", ":"),
}
SCORES = {
    "mcm": "MCM",
    "msp": "MSP",
    "max_logit": "MaxLogit",
    "energy": "Energy",
    "entropy": "Entropy",
    "variance": "Variance",
    "gen": "GEN",
    "kl_matching": "KL-Matching",
    "logit_gap": "LogitGap",
    "mahalanobis": "Mahalanobis",
    "relative_mahalanobis": "Relative Mahalanobis",
    "single_gaussian": "Single Gaussian",
    "knn": "KNN",
    "she": "SHE",
    "nnguide": "NNGuide",
    "fdbd": "fDBD",
    "nci": "NCI",
    "neco": "NECO",
    "caref": "CARef",
    "cadref": "CADRef",
    "residual": "Residual",
    "vim": "ViM",
    "relation": "Relation",
    "react": "ReAct",
    "ash_b": "ASH-B",
    "ash_p": "ASH-P",
    "ash_s": "ASH-S",
    "scale": "SCALE",
    "dice": "DICE",
    "vra": "VRA",
    "gradnorm": "GradNorm",
    "weiper": "WeiPer",
    "weiper_kld": "WeiPer+KLD",
    "gl_mcm": "GL-MCM",
    "l_mcm": "L-MCM",
    "neglabel": "NegLabel",
    "csp": "CSP",
    "eoe": "EOE",
    "cma": "CMA",
    "tag": "TAG",
    "clipn_atd": "CLIPN-ATD",
    "clipn_ctw": "CLIPN-CTW",
    "clipscope": "CLIPScope",
    "adaneg": "AdaNeg",
    "neg_prompt": "NegPrompt",
    "lsn": "LSN",
}
KINDS = {"near": "Near OOD", "far": "Far OOD", "covariate": "Covariate shift"}
FPR_ID, FPR_OOD = "FPR95 (ID pos.)", "FPR95 (OOD pos.)"
METRICS = {"auroc": "AUROC", "fpr95_id_pos": FPR_ID, "fpr95_ood_pos": FPR_OOD}
BETTER = {"id_accuracy": "↑", "auroc": "↑", "fpr95_id_pos": "↓", "fpr95_ood_pos": "↓"}


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return how the methods of an experiment are drawn, no two alike.

    Registered ones look as ever. The others, in order, take a marker, and a colour and line, that are still free: a
    variant, as `coop@epochs=20`, those of its method's colour first. Past 34 methods markers return in other colours.
    """
    names = list(dict.fromkeys(methods))
    found = {name: METHODS[name] for name in names if name in METHODS}
    for name in names:
        if name not in found:
            label = method_label(name)
            label = name if label in (look.label for look in found.values()) else label
            found[name] = next(_free(label, METHODS.get(name.partition("@")[0]), list(found.values())))
    return found


def _free(label: str, base: Look | None, taken: list[Look]) -> Iterator[Look]:
    """Yield looks that nothing taken has, from those that differ most to those that differ in one thing."""
    used = [look.colour for look in taken]
    colours = sorted(COLOURS, key=lambda colour: (base is None or colour != base.colour, used.count(colour)))
    every = [Look(label, c, shape, line, hollow) for c, line, (shape, hollow) in product(colours, LINES, MARKS)]
    lines = {(look.colour, look.line) for look in taken}
    marks, coloured = {look.mark for look in taken}, {(look.colour, look.mark) for look in taken}
    yield from (look for look in every if look.mark not in marks and (look.colour, look.line) not in lines)
    yield from (look for look in every if (look.colour, look.mark) not in coloured)
    yield from every


def method_label(method: str) -> str:
    """Return what a reader sees for a method: `coop@epochs=20` is CoOp (epochs=20)."""
    return _label(method, {name: known.label for name, known in METHODS.items()})


def score_label(score: str) -> str:
    """Return what a reader sees for a score: `mcm@T=0.5` is MCM (T=0.5)."""
    return _label(score, SCORES)


def _label(name: str, known: dict[str, str]) -> str:
    base, _, variant = name.partition("@")
    label = known.get(base, base)
    return f"{label} ({variant})" if variant else label
