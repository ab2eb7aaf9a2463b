"""What a stream of ImageNet's size costs each transductive score, and its authors' class where that is at hand.

Generated features, ID and OOD samples mixed, each near a text, so that nearly all are sure and memories fill; as many
negative texts as candidates. A score is given features and logits, as the stage gives them; each runs in a process of
its own, for the peak of its memory.

The authors' classes of AdaNeg and TANL (YBZh/OpenOOD-VLM) are run from a checkout of theirs, on the CPU, in float64, on
the first samples of the same stream: AdaNeg's makes an array (batch, texts, D), so that its batches are small, and by
`stream_peer` samples its cost is that of a sample whose memories are nearly empty, which its code computes with all the
same. CLIPScope's code of record is a script that reads images: it is not run.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from made import Sizes
from timing import forget_peak, peak_mb, timed

from oodgrid import registry
from oodgrid.score.contract import TextList, normalise

CASES = {
    "tanl": ("tanl", {}),
    "adaneg": ("adaneg", {"keep": 1.0}),
    "adaneg, beta 0": ("adaneg", {"beta": 0.0, "keep": 1.0}),
    "clipscope": ("clipscope", {}),
    "reneg": ("reneg", {}),  # with the negative texts as its pool
    "products": ("products", {}),  # of all samples with all texts, which no score can leave out
}
NOT_RUN = "not measured: name a checkout of YBZh/OpenOOD-VLM by --openood"
POSTPROCESSORS = "openood.postprocessors"
SETTINGS = {"tau": 1.0, "random_permute": True, "localindice": 5, "cluster_num": 0, "cossim": False, "thres": 0.5}


def measured(sizes: Sizes, openood: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of each case, and of the authors' classes."""
    rows: dict[str, Any] = {}
    for case in CASES:
        command = [sys.executable, __file__, json.dumps(asdict(sizes)), case]
        ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        rows[case] = json.loads(ran.stdout.splitlines()[-1])
        say(f"{case}: {rows[case]['cpu_s']:.1f} CPU s, {rows[case]['peak_mb']:.0f} MB")
    for case in ("tanl", "adaneg", "adaneg, beta 0"):
        if openood is None:
            rows[case]["theirs"] = NOT_RUN
            continue
        rows[case]["theirs"] = row = theirs(case, sizes, Path(openood))
        say(f"{case}, theirs: {row['stream_s']:.0f} CPU s, from {row['samples']} samples")
    return rows


def ours(case: str, sizes: Sizes) -> dict[str, float]:
    """Return what one score of the stream costs."""
    name, params = CASES[case]
    features, logits, classes, texts, noise = stream(sizes)
    both = np.vstack([classes, texts.features])
    lists = {"labels": texts, "noise": noise, "pool": texts}
    listed = {each: lists[each] for each in (() if name == "products" else registry.find("score", name).label_lists)}

    def run() -> None:
        if name == "products":
            for start in range(0, len(features), 1024):
                features[start : start + 1024] @ both.T
        else:
            scores = registry.find("score", name).make(features, logits, classes, **listed, **params)
            assert np.isfinite(scores).all()

    forget_peak()
    seconds, _ = timed(run)
    return {"cpu_s": seconds, "us_a_sample": 1e6 * seconds / len(features), "peak_mb": peak_mb()}


def stream(sizes: Sizes) -> tuple[np.ndarray, np.ndarray, np.ndarray, TextList, TextList]:
    """Return features and logits of the samples, the texts of the classes, the negative ones, and noise."""
    rng, width, own = np.random.default_rng(0), sizes.width, sizes.stream * 5 // 6
    texts = normalise(rng.normal(size=(sizes.classes + sizes.texts, width)))
    images = normalise(rng.normal(size=(1, width)))  # where images lie and texts do not
    near = np.concatenate(
        [rng.integers(sizes.classes, size=own), rng.integers(sizes.classes, len(texts), sizes.stream - own)]
    )
    near = near[rng.permutation(len(near))]
    features = normalise(0.6 * images + 0.3 * texts[near] + 0.74 / width**0.5 * rng.normal(size=(len(near), width)))
    noise = normalise(0.6 * images + 0.8 / width**0.5 * rng.normal(size=(15, width)))
    classes, others = texts[: sizes.classes], texts[sizes.classes :]
    lists = [TextList(each, [""] * len(each), [""] * len(each)) for each in (others, noise)]
    return features, features @ classes.T, classes, *lists


# ------------------------------------------------------------------------------------------------ the authors' side


def theirs(case: str, sizes: Sizes, checkout: Path) -> dict[str, float]:
    """Return what the authors' class costs on the first samples of the stream, after one batch that fills its state."""
    features, _, classes, texts, noise = stream(sizes)
    double = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # TANL's class casts its softmax to float32
    try:
        made, batch = _postprocessor(case, sizes, checkout)
        net = _net(classes, texts.features, noise.features)
        samples = sizes.stream_peer if case == "tanl" else max(sizes.stream_peer // 8, batch)
        batches = torch.tensor(features[: samples + batch]).split(batch)
        made.postprocess(net, batches[0])
        seconds, _ = timed(lambda: [made.postprocess(net, each) for each in batches[1:]])
    finally:
        torch.Tensor.float = double
        torch.set_default_dtype(torch.float32)
    each = seconds / samples
    return {"samples": samples, "batch": batch, "us_a_sample": 1e6 * each, "stream_s": each * sizes.stream}


def _postprocessor(case: str, sizes: Sizes, checkout: Path) -> tuple[Any, int]:
    """Return the authors' object, with the settings of ours, and the samples of a batch."""
    if case == "tanl":
        count = min(1000, sizes.texts)  # negative texts that count
        settings = {"alpha": 0.95, "beta": count, "gamma": 1, "gap": 0.2, "memleng": 300, "in_score": "sum"}
        settings |= {"group_num": 1, "group_size": 1000, "samada": True}
        kind, batch = _module(checkout, "activated_neg_postprocessor").ActivatedNegPostprocessor, 256
    else:
        settings = {"beta": 5, "samada": case == "adaneg", "gap": 0.5, "memleng": 9, "group_num": 5}
        settings |= {"lambdaval": 0.1, "in_score": "combine"}
        kind, batch = _module(checkout, "ttaprompt_postprocessor").TTAPromptPostprocessor, 16
    args = SimpleNamespace(**SETTINGS, **settings)
    inner = SimpleNamespace(postprocessor_args=args, postprocessor_sweep=None)
    return kind(SimpleNamespace(postprocessor=inner)), min(batch, sizes.stream_peer)


def _net(classes: np.ndarray, texts: np.ndarray, noise: np.ndarray) -> Any:
    """Return what the classes take for a network: it gives back the features that it is given, with the texts."""
    both = torch.tensor(np.vstack([classes, texts]))

    class Net(torch.nn.Module):
        n_cls, n_output, logit_scale = len(classes), len(classes), 100.0
        text_features = text_features_all = both.T
        noise_image_features = torch.tensor(noise)

        def forward(self, features: torch.Tensor, return_feat: bool = True) -> tuple:
            return features, both, self.logit_scale

    return Net()


def _module(checkout: Path, name: str) -> ModuleType:
    """Import one module of a checkout without its package, which imports the libraries of all others."""
    if not (checkout / "openood" / "postprocessors" / f"{name}.py").is_file():
        raise SystemExit(f"{checkout} has no openood/postprocessors/{name}.py: name a checkout of YBZh/OpenOOD-VLM")
    for package in ("openood", "openood.utils", "openood.utils.comm", POSTPROCESSORS):
        sys.modules.setdefault(package, ModuleType(package))
    sys.modules["openood.utils"].comm = sys.modules["openood.utils.comm"]
    sys.modules[POSTPROCESSORS].__path__ = [str(checkout / "openood" / "postprocessors")]
    return importlib.import_module(f"{POSTPROCESSORS}.{name}")


if __name__ == "__main__":
    print(json.dumps(ours(sys.argv[2], Sizes(**json.loads(sys.argv[1])))))
