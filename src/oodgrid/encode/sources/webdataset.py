"""The shards of WebDataset: tar files in which members with one key make a sample.

A key is what stands before the first dot after the last slash, and what follows says what the member is: `22.jpg`,
`22.cls`, `22.seg.png`. Sets whose own names hold dots break that rule; where each image has a label with the same dots
they are read as they are meant. What could be meant in two ways is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from oodgrid.config import Webdataset, expand
from oodgrid.counts import counted, plural
from oodgrid.encode.sources.archives import refuse_twice
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value, existing, file_stamp
from oodgrid.encode.sources.passing_over import is_image, printable, system_part
from oodgrid.encode.sources.reading import Members
from oodgrid.encode.sources.tars import open_tar
from oodgrid.errors import OodgridError

MOST_SHARDS = 1_000_000


@dataclass
class Samples:
    """The samples of one shard.

    Attributes:
        labels: The member with the label, or None, of every image that is a sample's own.
        dotted: Images whose samples have dots in their keys.
        passed_over: How many members of each kind belong to no sample, or are further images of one.
    """

    labels: dict[str, str | None] = field(default_factory=dict)
    dotted: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def webdataset(source: Webdataset, split: str) -> ImageSet:
    """Return the samples of a set of shards, in the order in which they lie there.

    Raises:
        OodgridError: A shard is missing, damaged or cut, or what is a sample or a label could mean two things.
    """
    shards_of: dict[str, str] = {} if isinstance(source.shards, str) else dict(source.shards.items())
    pattern = source.shards if isinstance(source.shards, str) else shards_of[split]
    shards = _shards(pattern)
    opened = [open_tar(existing(Path(shard), "shard"), f"shard {shard}") for shard in shards]
    times = [file_stamp(Path(shard))[1] for shard in shards]
    shard_samples = [_samples(members, source, shard) for members, shard in zip(opened, shards, strict=True)]
    images = [(number, name) for number, samples in enumerate(shard_samples) for name in samples.labels]
    names = [Path(shard).name for shard in shards]
    names = names if len(set(names)) == len(names) else shards  # two images never have one name
    paths = [f"{names[number]}/{name}" for number, name in images]
    values = [_label(opened[number], shard_samples[number].labels[name], source) for number, name in images]
    remarks = _without_label(paths, values, source, pattern) + _dots([s.dotted for s in shard_samples])
    labels, classnames = classes_by_value(values, pattern)

    def read_row(row: int) -> bytes:
        number, name = images[row]
        return opened[number].read(name)

    def stamp(row: int) -> tuple[int, int]:
        number, name = images[row]
        return opened[number].sizes[name], times[number]

    passed_over = sum((samples.passed_over for samples in shard_samples), Counter())
    return ImageSet(paths, labels, classnames, read_row, stamp, pattern, passed_over=passed_over, remarks=remarks)


# ------------------------------------------------------------------------------------------------------- shards


def brace_expand(pattern: str) -> list[str]:
    """Return the paths of a pattern such as `train-{000..012}.tar` or `{a,b}.tar`; leading zeros keep the width.

    Raises:
        OodgridError: There are more than any set has.
    """
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    if max(map(len, choices)) > MOST_SHARDS or prod(map(len, choices)) > MOST_SHARDS:
        raise OodgridError(f"{pattern} names more than {MOST_SHARDS:,} shards: mend the numbers in its braces")
    return ["".join(map(str, chosen)) for chosen in product(*choices)]


def _choices(inside: str) -> range | list[str]:
    numbers = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers.groups()
    count = range(int(first), int(last) + 1)
    return [str(number).zfill(len(first)) for number in count] if len(count) <= MOST_SHARDS else count


def _shards(pattern: str) -> list[str]:
    shards = brace_expand(str(expand(pattern)))
    if not shards:
        raise OodgridError(f"{pattern} names no shard: numbers in its braces must rise, as {{000..012}}")
    if len(set(shards)) < len(shards):
        twice = next(shard for shard, count in Counter(shards).items() if count > 1)
        raise OodgridError(f"{pattern} names the shard {twice} twice: mend what stands in its braces")
    return shards


# ------------------------------------------------------------------------------------------------------ samples


def _samples(members: Members, source: Webdataset, shard: str) -> Samples:
    """Return the samples of one shard."""
    refuse_twice(members, members.sizes, f"shard {shard}")
    names = [name for name in members.sizes if not system_part(PurePosixPath(name))]
    labels = _by_stem(names, source.label, shard)
    stems = {name: _stem(name, source.image) for name in names if is_image(name)}
    groups: dict[str, dict[str, str]] = {}
    for name, stem in stems.items():
        if stem is not None:
            groups.setdefault(_key(name), {})[name] = stem
    keys: dict[str, str] = {}
    for key, group in groups.items():
        keys |= _own(key, group, labels.keys(), shard, named=bool(source.image))
    samples = Samples(passed_over=Counter(members.passed_over))
    in_order = [name for name in stems if name in keys]  # in which they lie in the shard
    samples.labels = {name: labels.get(keys[name]) for name in in_order}
    samples.dotted = [name for name in in_order if keys[name] in labels and keys[name] != _key(name)]
    _pass_over(samples, members, set(keys.values()))
    return samples


def _own(key: str, group: dict[str, str], labels: Container[str], shard: str, named: bool) -> dict[str, str]:
    """Return the images that are samples among those of one key, with the keys that they have then.

    That is the one without a further dot, or all where each has a label of its own; the others, as masks, are none.
    """
    plain = {name: stem for name, stem in group.items() if stem == key}
    labelled = {name: stem for name, stem in group.items() if stem in labels}
    images = plain | labelled if plain else group
    if len(set(images.values())) < len(images) or (len(images) > 1 and not labelled and (key in labels or not named)):
        first, second = list(images)[:2]
        kind = first.removeprefix(f"{key}.")
        suffix = kind.rpartition(".")[2]
        more = "" if plain or key in labels else f" (or image: {suffix}, where each is a sample of its own)"
        raise OodgridError(
            f"shard {shard}: the sample {printable(key)} has {counted(len(images), 'image')}, {printable(first)} and "
            f"{printable(second)}: say which one counts, as image: {kind}{more}"
        )
    alone = len(images) == 1 and not labelled  # then the rest of the name is its kind, as in 22.rgb.png
    return dict.fromkeys(images, key) if alone else images


def _pass_over(samples: Samples, members: Members, keys: set[str]) -> None:
    """Count what belongs to no sample, and images that are not their sample's own."""
    for name in members.sizes:
        kind = "." + PurePosixPath(name).name.partition(".")[2].lower()
        if left := system_part(PurePosixPath(name)):
            samples.passed_over[left] += 1
        elif is_image(name) and name not in samples.labels:
            samples.passed_over[f"{printable(kind)} beside the image of a sample"] += 1
        elif not is_image(name) and not any(start in keys for start in _starts(name)):
            samples.passed_over[f"{printable(kind)} without an image"] += 1


def _by_stem(names: Iterable[str], suffix: str, shard: str) -> dict[str, str]:
    """Return the members of one suffix by what stands before it."""
    by_stem: dict[str, str] = {}
    for name in names:
        if (key := _stem(name, suffix)) is not None and by_stem.setdefault(key, name) != name:
            raise OodgridError(
                f"shard {shard}: {printable(name)} and {printable(by_stem[key])} are two labels of one sample"
            )
    return by_stem


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _starts(name: str) -> Iterator[str]:
    """Yield what stands before each dot of a name, whatever dots its folders have."""
    folder, slash, file = name.rpartition("/")
    yield from (folder + slash + file[: dot.start()] for dot in re.finditer(r"\.", file))


def _stem(name: str, suffix: str | None) -> str | None:
    """Return a name without a suffix, whatever its case, or without its last one; None where it has another."""
    if suffix is None:
        return name.rpartition(".")[0]
    end = "." + suffix.lower()
    return name[: -len(end)] if name.lower().endswith(end) else None


# ------------------------------------------------------------------------------------------------------- labels


def _label(members: Members, name: str | None, source: Webdataset) -> int | float | str | None:
    """Return what a member says is the label; None where there is none or it cannot be read."""
    if name is None:
        return None
    try:
        text = members.read(name).decode("utf-8-sig").strip()
        value: Any = json.loads(text).get(source.json_key) if source.label.lower().endswith("json") else text
    except (ValueError, AttributeError, RecursionError):
        return None
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) and value != "" else None


def _without_label(paths: list[str], values: list[Any], source: Webdataset, pattern: str) -> tuple[str, ...]:
    """Return what is to be said of samples without a label, and refuse where that is a mistake in the configuration."""
    missing = [path for path, value in zip(paths, values, strict=True) if value is None or value != value]
    if len(missing) == len(paths) and paths and source.label != "cls":
        raise OodgridError(f"{pattern}: no sample has a label in a member .{source.label}: mend label or json_key")
    if source.label.lower() == "cls":
        _refuse_mixed(paths, values, pattern)
    if not missing:
        return ()
    remark = (
        f"{len(missing):,} of {counted(len(paths), 'sample')} {plural(len(missing), 'has', 'have')} no label that "
        f"can be read, the first: {missing[0]}"
    )
    return (f"{remark}; they count as of no class",)


def _refuse_mixed(paths: list[str], values: list[Any], pattern: str) -> None:
    """Refuse numbers beside what is none: one damaged label would make names of all the others."""
    texts = {path: value for path, value in zip(paths, values, strict=True) if isinstance(value, str)}
    words = [path for path, text in texts.items() if not re.fullmatch(r"-?\d+(\.0*)?", text)]
    if 0 < len(words) < len(texts):
        raise OodgridError(
            f"{pattern}: {len(words):,} of {counted(len(texts), 'label')} "
            f"{plural(len(words), 'is no whole number', 'are no whole numbers')} as the others are, the first: "
            f"{texts[words[0]][:40]!r} of {words[0]}: mend them, or take them out"
        )


def _dots(dotted: list[list[str]]) -> tuple[str, ...]:
    names = [name for part in dotted for name in part]
    if not names:
        return ()
    return (
        f"{counted(len(names), 'sample has dots in its key', 'samples have dots in their keys')}, as "
        f"{names[0]}, each with a label of the same name; "
        "WebDataset itself joins samples whose keys are alike up to the first dot",
    )
