"""How names look in print: labels, and one fixed colour and marker a method, the same in every figure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# Okabe & Ito, "Color Universal Design" (2008), without yellow, which is too light for lines on white.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#7F7F7F"


@dataclass(frozen=True)
class Look:
    """How a method is drawn.

    Attributes:
        label: What a reader sees.
        colour: Hex triplet.
        marker: Matplotlib marker.
        line: Matplotlib line style.
    """

    label: str
    colour: str
    marker: str
    line: str = "-"


METHODS = {
    "zero_shot": Look("Zero-shot", BLACK, "o"),
    "prototype": Look("Prototype", GREY, "s"),
    "linear_probe": Look("Linear probe", SKY, "^"),
    "coop": Look("CoOp", VERMILLION, "D"),
    "cocoop": Look("CoCoOp", ORANGE, "v"),
    "kgcoop": Look("KgCoOp", VERMILLION, "s", "--"),
    "prograd": Look("ProGrad", VERMILLION, "^", ":"),
    "prompt_src": Look("PromptSRC (text)", ORANGE, "o", "--"),
    "locoop": Look("LoCoOp", PURPLE, "D", "--"),
    "sct": Look("SCT", PURPLE, "s", ":"),
    "neg_prompt": Look("NegPrompt", BLACK, "v", "--"),
    "lsn": Look("LSN", BLACK, "X", ":"),
    "zs_lp": Look("ZS-LP", SKY, "s", "--"),
    "clap": Look("CLAP", SKY, "o", ":"),
    "lp_plus_plus": Look("LP++", SKY, "D", "-."),
    "opsupcon": Look("OPSupCon (rec.)", GREEN, "X", "--"),
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

_SPARE_COLOURS = (VERMILLION, BLUE, GREEN, PURPLE, ORANGE, SKY)
_SPARE_MARKERS = ("<", ">", "p", "d", "H", "8")


def look(method: str) -> Look:
    """Return how a method is drawn; a name not listed gets a look of its own, always the same, in dashes.

    A variant such as `coop@epochs=20` keeps the colour of its method.
    """
    if method in METHODS:
        return METHODS[method]
    number = int.from_bytes(hashlib.sha256(method.encode()).digest()[:4])
    base = METHODS.get(method.partition("@")[0])
    colour = base.colour if base else _SPARE_COLOURS[number % len(_SPARE_COLOURS)]
    marker = _SPARE_MARKERS[number // len(_SPARE_COLOURS) % len(_SPARE_MARKERS)]
    return Look(_label(method, {name: known.label for name, known in METHODS.items()}), colour, marker, "--")


def score_label(score: str) -> str:
    """Return what a reader sees for a score: `mcm@T=0.5` is MCM (T=0.5)."""
    return _label(score, SCORES)


def _label(name: str, known: dict[str, str]) -> str:
    base, _, variant = name.partition("@")
    label = known.get(base, base)
    return f"{label} ({variant})" if variant else label
