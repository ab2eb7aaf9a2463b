"""Where everything lies is said in paths.py alone, so that a folder is renamed in one line."""

from __future__ import annotations

import inspect
import io
import re
import tokenize
from pathlib import Path

import pytest

from oodgrid import paths, plan
from oodgrid.config import parse

ROOT = Path(__file__).parents[1]
R = Path("results")
FOLDERS = {name: getattr(paths, name) for name in ("FEATURES", "TEXTS", "KEPT", "ADAPTED", "SCORES", "CONFIGS", "LOGS")}
STRINGS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))  # from Python 3.12 on
OF_RULES = [
    *(paths.features, paths.views, paths.shard, paths.view_shard, paths.drawn, paths.texts, paths.label_texts),
    *(paths.fitted, paths.applied, paths.scores, paths.streams, paths.sweeps, *paths.EVALUATED),
]


def test_features_and_texts_are_shared_by_all_experiments():
    assert paths.features(R, "tiny", "concepts", "val") == R / "features/tiny/concepts/val.h5"
    assert paths.texts(R, "tiny", "concepts") == R / "text/tiny/concepts.h5"
    assert paths.label_texts(R, "tiny", "nouns") == R / "text/tiny/labels/nouns.h5"
    assert paths.kept(R, "fit") == R / "kept/fit"


def test_everything_else_lies_below_the_experiment():
    assert paths.fitted(R, "demo", "tiny", "c", "coop") == R / "demo/adapted/tiny/c/coop/fit.json"
    assert paths.applied(R, "demo", "tiny", "c", "coop") == R / "demo/adapted/tiny/c/coop/apply.json"
    assert paths.scores(R, "demo", "tiny", "c", "coop@epochs=5") == R / "demo/scores/tiny/c/coop@epochs=5.parquet"
    assert paths.metrics(R, "demo") == R / "demo/metrics.parquet"
    names = ("metrics", "curves", "summary", "comparisons", "geometry", "temperatures")
    assert [path(R, "demo") for path in paths.EVALUATED] == [R / f"demo/{name}.parquet" for name in names]
    assert paths.log(R, "demo", "adapt", "tiny", "c", "coop.fit") == R / "demo/logs/adapt/tiny/c/coop.fit.log"
    assert paths.running(R, "demo").parent == paths.planned(R, "demo", "abc").parent == R / "demo/configs"
    assert paths.report(R, "demo", "page") == R / "demo/report.html"


@pytest.mark.parametrize("path", OF_RULES, ids=lambda path: path.__name__)
def test_a_pattern_with_its_wildcards_filled_in_is_the_path(path):
    _, *parameters = inspect.signature(path).parameters
    names = {name: f"x{place}" for place, name in enumerate(parameters) if name != "suffix"}
    pattern = paths.pattern(path, R)
    assert set(re.findall(r"{(\w+)}", pattern)) == set(names)
    assert Path(pattern.format(**names)) == path(R, **names) == Path(paths.pattern(path, R, unknown="y", **names))


@pytest.mark.parametrize("constant", FOLDERS)
def test_a_folder_is_renamed_in_one_line(tmp_path, experiment_of, monkeypatch, constant):
    """All files that a run makes, reads and checks follow."""
    experiment = parse(experiment_of(id_datasets=[{"name": "concepts", "ood": {"far": ["noise"]}}]))

    def planned():
        place = (tmp_path, experiment)
        files = [*plan.feature_files(*place), *plan.score_files(*place), *plan.report_files(*place)]
        files += plan.score_input(*place, "tiny", "concepts", "tip_adapter")
        files += [plan.PlannedConfig.of(tmp_path, "mini", {}).path, paths.log(tmp_path, "mini", "evaluate")]
        return [*files, paths.kept(tmp_path, "fit")]

    before = planned()
    monkeypatch.setattr(paths, constant, "renamed")
    assert any("renamed" in file.parts for file in planned())
    changed = [[part if part != FOLDERS[constant] else "renamed" for part in file.parts] for file in before]
    assert sorted(map(tuple, changed)) == sorted(file.parts for file in planned())


def strings(file):
    """Yield the strings of a Python or Snakemake file, but for docstrings, with their lines and what is beside them."""
    tokens = [
        token
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
        if token.type not in (tokenize.COMMENT, tokenize.NL)
    ]
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        alone = before.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) and after.type == tokenize.NEWLINE
        if token.type in STRINGS and not (alone and token.string.startswith('"""')):
            yield token.start[0], token.string, {before.string, after.string}


def test_no_other_file_spells_a_folder():
    """Neither as `x / "features"` nor within a string as features/…, in src and in the workflow."""
    names = "|".join(map(re.escape, [str(paths.RESULTS), *FOLDERS.values(), *paths.REPORT.values()]))
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("workflow/**/*.smk"), ROOT / "Snakefile"]
    found = [
        f"{file.relative_to(ROOT)}:{line}: {string}"
        for file in files
        if file.name != "paths.py"
        for line, string, beside in strings(file)
        if re.search(rf"(?<![\w.])(?:{names})/([\w{{<*]|$)", string)
        or (re.fullmatch(f"['\"](?:{names})['\"]", string) and "/" in beside)
    ]
    assert not found, "\n".join(found)
