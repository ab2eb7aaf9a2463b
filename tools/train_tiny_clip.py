"""Train the tiny CLIP on Concept World captions, or check what the shipped one can do.

One command makes the shipped weights again (a quarter of an hour on 2 cores), one prints what they are worth:

    python tools/train_tiny_clip.py
    python tools/train_tiny_clip.py --check
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy, normalize

from oodgrid.encode import concept_world

NAME = "oodgrid-tiny"
FOLDER = Path(__file__).parents[1] / "src" / "oodgrid" / "catalogue" / "tiny_clip"
TABLE = "token_embedding"
PADDING = 0  # what follows the end of text; causal attention never reads it
PREPROCESSING = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
BATCH = 64
PEAK_RATE = 2e-3
WARMUP_STEPS = 100
NAMED = (concept_world.COLOURS, concept_world.SHAPES)  # what the two extra heads name
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    """Parse the command line and train, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: python tools/train_tiny_clip.py --epochs 2 --images 4000 --out trial.safetensors",
    )
    parser.add_argument("--epochs", type=int, default=6, help="passes over the images (default: %(default)s)")
    parser.add_argument("--images", type=int, default=25_600, help="captioned images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of images, weights and order (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=FOLDER / "weights.safetensors", help="file to write, or to check")
    parser.add_argument("--check", action="store_true", help="print what the weights in --out can do; train nothing")
    options = parser.parse_args()
    if not options.check:
        train(options.epochs, options.images, options.seed, options.out)
    check(load(options.out))


def create() -> torch.nn.Module:
    """Return the untrained model, as open_clip builds any other."""
    open_clip.add_model_config(FOLDER)
    return open_clip.create_model(NAME)


def pixels(images: np.ndarray) -> torch.Tensor:
    """Return (N, 3, 48, 48) float32 as open_clip's preprocessing gives for images of the right size."""
    mean, std = (torch.tensor(PREPROCESSING[key])[:, None, None] for key in ("mean", "std"))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def train(epochs: int, n_images: int, seed: int, out: Path) -> None:
    """Train from nothing and write the weights.

    To CLIP's contrastive loss two linear heads are added that name the colour and the shape which the caption names;
    they are thrown away in the end. Without them so small a transformer takes three times as long to see shapes.
    """
    started = time.perf_counter()
    torch.manual_seed(seed)
    data = concept_world.captioned(n_images, seed)
    model = create()
    tokens = open_clip.get_tokenizer(NAME)(data.captions)
    used, tokens = _with_compact_table(model, tokens)
    longest = int((tokens != PADDING).sum(1).max())
    print(f"{n_images} captioned images, up to {longest} tokens, {len(used) - 1} distinct")
    heads = torch.nn.ModuleList(torch.nn.Linear(model.visual.output_dim, len(words)) for words in NAMED)
    learner = torch.nn.ModuleList([model, heads]).to(DEVICE)
    optimiser, schedule = _optimiser(learner, epochs * (n_images // BATCH))
    named = torch.tensor([[_first(words, caption) for words in NAMED] for caption in data.captions])
    for epoch in range(epochs):
        loss = _epoch(learner, optimiser, schedule, data.images, tokens, named)
        print(f"epoch {epoch + 1}/{epochs}  loss {loss:.3f}  {time.perf_counter() - started:.0f} s", flush=True)
    made = {"seed": seed, "epochs": epochs, "images": n_images, "batch": BATCH, "peak_rate": PEAK_RATE}
    seconds = round(time.perf_counter() - started)
    save(model, used, out, {**made, "seconds": seconds, "device": DEVICE.type, **_versions()})


def _with_compact_table(model: torch.nn.Module, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shrink the token table to the rows in use, a third of a step's time, and renumber the tokens.

    The order of the ids stays, so the end of text is still the largest and open_clip still finds it by argmax;
    padding stays 0. Returns the ids that the rows had, padding first, and the renumbered tokens.
    """
    used, renumbered = tokens.unique(return_inverse=True)
    rows = model.token_embedding.weight.detach()[used]
    model.token_embedding = torch.nn.Embedding.from_pretrained(rows, freeze=False)
    return used, renumbered


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "numpy": np.__version__,
    }


def _optimiser(
    model: torch.nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with a warm-up and a cosine; gains, biases and the temperature do not decay."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))

    def rate(step: int) -> float:
        return min((step + 1) / WARMUP_STEPS, 0.5 * (1 + math.cos(math.pi * step / steps)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _first(words: tuple[str, ...], caption: str) -> int:
    """Return which of the words a caption holds, as a whole word: "checkered" is not red."""
    said = set(caption.replace(".", " ").replace(",", " ").split())
    return next(index for index, word in enumerate(words) if word in said)


def _epoch(
    learner: torch.nn.ModuleList,
    optimiser,
    schedule,
    images: np.ndarray,
    tokens: torch.Tensor,
    named: torch.Tensor,
) -> float:
    """Pass once over the images in random order, dropping the last partial batch; return the mean loss."""
    (model, heads), criterion, total = learner, ClipLoss(), 0.0
    batches = torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH)
    for batch in batches:
        raw = model.encode_image(pixels(images[batch.numpy()]).to(DEVICE))
        image_features = normalize(raw, dim=-1)
        text_features = model.encode_text(tokens[batch].to(DEVICE), normalize=True)
        loss = criterion(image_features, text_features, model.logit_scale.exp())
        for head, targets in zip(heads, named[batch].T.to(DEVICE), strict=True):
            loss = loss + cross_entropy(head(raw), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        total += loss.item()
    return total / len(batches)


def save(model: torch.nn.Module, token_ids: torch.Tensor, out: Path, made: dict) -> None:
    """Write float16 weights whole or not at all; of the token table only the rows that were trained."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    rows = state.pop(f"{TABLE}.weight")
    tensors = {name: tensor.half().contiguous() for name, tensor in state.items()}
    tensors |= {f"{TABLE}.ids": token_ids[1:].int(), f"{TABLE}.rows": rows[1:].half()}
    metadata = {"model": NAME, "training": json.dumps(made), "preprocessing": json.dumps(PREPROCESSING)}
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    save_file(tensors, beside, metadata=metadata)
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {json.dumps(made)}")


def load(path: Path) -> torch.nn.Module:
    """Return the model in float32 with the weights of a file; token rows that were never trained are zero."""
    model = create()
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    table = torch.zeros_like(model.token_embedding.weight)
    table[state.pop(f"{TABLE}.ids").long()] = state.pop(f"{TABLE}.rows").float()
    state[f"{TABLE}.weight"] = table
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model.eval().to(DEVICE)


@torch.no_grad()
def _image_features(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    parts = [normalize(model.encode_image(batch.to(DEVICE)), dim=-1).cpu() for batch in pixels(images).split(256)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def _text_features(model: torch.nn.Module, names: tuple[str, ...]) -> np.ndarray:
    tokens = open_clip.get_tokenizer(NAME)([f"a photo of a {name}." for name in names])
    return normalize(model.encode_text(tokens.to(DEVICE)), dim=-1).cpu().numpy()


def _mcm(features: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Maximum concept matching: largest softmax of the cosines, T = 1 (Ming et al. 2022, eq. 2)."""
    powers = np.exp((features @ text.T).astype(np.float64))
    return powers.max(1) / powers.sum(1)


def check(model: torch.nn.Module) -> None:
    """Print zero-shot accuracy, MCM's AUROC by semantic and covariate distance, and accuracy by shots."""
    text = _text_features(model, concept_world.GROUPS["id"])
    test = concept_world.concepts("id", "test", 40)
    features = _image_features(model, test.images)
    print(f"\nzero-shot accuracy, ID test ({len(features)}): {_accuracy(features, text, test.labels):6.1%}")
    id_scores = _mcm(features, text)
    print("\nMCM (T=1), AUROC against ID test     distance")
    for name, distance, images in _ood_sets():
        scores = _mcm(_image_features(model, images), text)
        labels = np.r_[np.ones_like(id_scores), np.zeros_like(scores)]
        print(f"  {name:24s} {roc_auc_score(labels, np.r_[id_scores, scores]):6.1%}     {distance}")
    _check_covariate(model, text, id_scores)
    for light in concept_world.LIGHTS:
        _check_shots(model, text, light)


def _ood_sets():
    for distance, group in enumerate(tuple(concept_world.GROUPS)[1:], start=1):
        yield group, distance, concept_world.concepts(group, "test", 40).images
    yield "textures", 4, concept_world.textures(960).images
    yield "noise", "-", concept_world.noise(960).images
    yield "digits", "-", concept_world.digits().images


def _accuracy(features: np.ndarray, text: np.ndarray, labels: np.ndarray) -> float:
    return float(((features @ text.T).argmax(1) == labels).mean())


def _check_covariate(model: torch.nn.Module, text: np.ndarray, id_scores: np.ndarray) -> None:
    print(
        "\nzero-shot accuracy / AUROC of clean against shifted, by severity\n" + " " * 10,
        *range(1, 6),
        sep="          ",
    )
    for kind in ("blur", "noise", "contrast"):
        cells = []
        for severity in range(1, 6):
            shifted = concept_world.concepts("id", "test", 40, **{kind: severity})
            features = _image_features(model, shifted.images)
            scores = _mcm(features, text)
            auroc = roc_auc_score(np.r_[np.ones_like(id_scores), np.zeros_like(scores)], np.r_[id_scores, scores])
            cells.append(f"{_accuracy(features, text, shifted.labels):.1%} / {auroc:.1%}")
        print(f"  {kind:10s}", *cells)


def _check_shots(model: torch.nn.Module, text: np.ndarray, light: str) -> None:
    """Print how well ID classes are told apart in one light, without and with shots."""
    train, test = (concept_world.concepts("id", split, n, light=light) for split, n in (("train", 48), ("test", 40)))
    test_features = _image_features(model, test.images)
    features = _image_features(model, train.images).reshape(-1, 48, test_features.shape[1])
    print(f"\n{light} light: zero-shot accuracy {_accuracy(test_features, text, test.labels):.1%}")
    print("logistic regression on 5 x features: accuracy by shots, 3 draws")
    for shots in (1, 2, 4, 8, 16):
        accuracies = []
        for draw in range(3):
            shown = features[:, draw * shots : (draw + 1) * shots].reshape(-1, features.shape[2])
            probe = LogisticRegression(max_iter=1000).fit(5 * shown, np.repeat(np.arange(len(features)), shots))
            accuracies.append(probe.score(5 * test_features, test.labels))
        print(f"  {shots:2d}  {np.mean(accuracies):6.1%} ± {np.std(accuracies):.1%}")


if __name__ == "__main__":
    main()
