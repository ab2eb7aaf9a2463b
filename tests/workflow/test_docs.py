"""The documentation: its links lead somewhere, and the commands it shows work as typed.

Before each block of commands stands an HTML comment: `runs`, or `not run:` with the reason. A block of YAML with
`runs: FILE` is the file that the commands after it name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(r"(oodgrid|snakemake|make|pip|python|export|source) ")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    mark: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(each["mark"] or "", each["language"], each["text"]) for each in FENCE.finditer(text)]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_commands_is_run_or_says_why_not(page):
    for block in blocks(page):
        if block.language == "sh":
            assert block.mark == "runs" or re.fullmatch(r"not run: .{10,}", block.mark), block.text
        elif block.language == "yaml":
            assert yaml.safe_load(block.text.replace("{…}", "{}")) is not None
        elif block.language == "python" and ">>>" not in block.text:
            compile(block.text, page, "exec")
        elif block.language == "":
            assert not COMMAND.match(block.text), f"name the language: ```sh\n{block.text}"


def test_commands_are_seen():
    """The pattern sees what it is for."""
    assert sum(block.mark == "runs" and block.language == "sh" for page in PAGES for block in blocks(page)) >= 12


def test_links_of_the_site_lead_somewhere(tmp_path):
    for part in ("docs", "zensical.toml"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, tmp_path / part)
    process = subprocess.run(["zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (tmp_path / "build" / "site").glob("*.html")}
    assert {Path(page).stem for page in PAGES if page.startswith("docs/")} <= pages.keys()
    for name, text in pages.items():
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:", text), f"{name} loads from elsewhere"
    in_nav = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert all(f'"{Path(page).name}"' in in_nav for page in PAGES if page.startswith("docs/"))


def test_links_outside_the_site_lead_somewhere():
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "CONTRIBUTING.md"))
    inside = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
    assert len(inside) > 10
    assert [link for link in inside if not (ROOT / link).exists()] == []


DEMO = {
    "methods": ["zero_shot", "tip_adapter", {"name": "coop", "epochs": 25, "lr": 0.0005}],
    "shots": [1, 16],
    "seeds": [1],
    "scores": ["mcm", "max_logit"],
}


@pytest.fixture
def world(built, tmp_path):
    """A clone after `make run`, with a smaller demo, and the user's own files that the documentation names."""
    return built("documented", _documented, tmp_path / "clone")


def _documented(clone) -> None:
    for part in (
        "src",
        "workflow",
        "profiles",
        "experiments",
        "Snakefile",
        "config.yaml",
        "results",
        "tools",
        "benchmarks",
    ):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, clone.folder / part, ignore=lambda folder, names: ["demo", "kept", "features"])
        else:
            shutil.copy2(source, clone.folder / part)
    demo = yaml.safe_load((clone.folder / "config.yaml").read_text(encoding="utf-8")) | DEMO
    demo["id_datasets"][0]["ood"] = {"near": ["moonlit-unseen-shapes"], "far": ["digits"]}
    clone.write(demo)
    rng = np.random.default_rng(0)
    for folder in ("photos", *(f"data/{each}" for each in ("pets/cat", "pets/dog", "far"))):
        (clone.folder / folder).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(clone.folder / folder / f"{number}.png")
    shutil.copy2(clone.folder / "photos" / "0.png", clone.folder / "one.jpg")
    shutil.make_archive(str(clone.folder / "more"), "zip", clone.folder / "photos")
    for name, shift in (("id", 1.0), ("ood", 0.0)):
        np.savetxt(clone.folder / f"{name}.csv", rng.normal(shift, size=200), header="score", comments="")
    for split, count in (("train", 20), ("test", 30)):
        arrays = {"image_features": rng.normal(size=(count, 16)).astype(np.float32), "labels": np.arange(count) % 5}
        np.savez(clone.folder / f"mine-{split}.npz", **arrays)
    clone.snakemake()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.mark == "runs" for block in blocks(page))])
def test_commands_work_as_typed(world, page):
    for block in blocks(page):
        if block.mark.startswith("runs: "):
            (world.folder / block.mark.removeprefix("runs: ")).write_text(block.text, encoding="utf-8")
        elif block.mark == "runs":
            assert (world.folder / "experiments").is_dir()
            world.run("bash", "-euc", block.text.replace("experiments/NAME.yaml", "config.yaml"))
