"""What everything costs at ImageNet's size, in CPU seconds of one thread, and the same by others beside it.

1,000 classes, 512 dimensions, 16 shots a class (a bank of 16,000), 50,000 ID and 35,640 OOD samples, a stream of
60,000, 10,000 candidates of texts; all made up. Parts, each of a process of its own:

* alone: every per-sample score by itself; what is linear in the samples is measured on some of them (`scores.py`);
* together: the stage, from feature files to tables, over all samples, with the peak of its memory;
* products: the matrix products that none of that can leave out, by NumPy and by torch;
* peers: each score that pytorch-ood 0.4 has, fit and prediction, at equal precision (`peers.py`);
* streams: each transductive score, beside the authors' class where a checkout is named (`streams.py`);
* adapters: Tip-Adapter's search, LP++, CLAP and the linear probe beside plain torch (`adapters.py`).

CPU time leaves out what others do on the machine; that their work disturbs caches it does not. Prints a line a figure
and tables; writes benchmarks/scale.json, a part as soon as it is done. Some ten CPU minutes; --small takes seconds and
writes nothing.

    python benchmarks/scale.py [--small] [--only PART…] [--openood CHECKOUT] [--own 50000 …]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy reads them

from machine import describe
from made import SMALL, Sizes

FILE = Path(__file__).with_suffix(".json")
PARTS = ("alone", "together", "products", "peers", "streams", "adapters")


def main() -> None:
    """Measure part by part, print and write down; or, as a child, measure one part and leave it in a file."""
    options = parsed()
    sizes = Sizes(**{name: getattr(options, name) for name in names()})
    if options.child:
        Path(options.child).write_text(json.dumps(measured(options.only[0], sizes, options)), encoding="utf-8")
        return
    result = {} if options.small or not FILE.exists() else json.loads(FILE.read_text(encoding="utf-8"))
    for part in options.only:
        about = {"machine": describe(), "load": os.getloadavg()[0], "sizes": asdict(sizes)}
        rows = child(part, sizes, options)
        if options.again:
            rows += [row for row in result[part]["rows"] if _named(row) not in options.again]
        result[part] = {**about, "rows": rows}
        if not options.small:
            FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for part in options.only:
        TABLES[part](result)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--openood", default=os.environ.get("OODGRID_OPENOOD_VLM"))
    parser.add_argument("--without", nargs="*", default=[], help="scores that are not timed alone")
    parser.add_argument("--again", nargs="*", default=[], help="of peers or adapters: measure these again, keep others")
    parser.add_argument("--child")
    for name in names():
        parser.add_argument(f"--{name}", type=int)
    options = parser.parse_args()
    for name in names():
        if getattr(options, name) is None:
            setattr(options, name, getattr(SMALL if options.small else Sizes(), name))
    return options


def names() -> list[str]:
    """Return the names of the sizes."""
    return [field.name for field in fields(Sizes)]


def _named(row: dict[str, Any]) -> str:
    return row["score"] if "score" in row else row["what"].split(":")[0]


def child(part: str, sizes: Sizes, options: argparse.Namespace) -> Any:
    """Return what a process of its own measures of a part."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--only", part, "--child", str(file)]
        command += [word for name, value in asdict(sizes).items() for word in (f"--{name}", str(value))]
        command += ["--openood", options.openood] if options.openood else []
        command += ["--without", *options.without, "--again", *options.again]
        subprocess.run(command, check=True)
        return json.loads(file.read_text(encoding="utf-8"))


def measured(part: str, sizes: Sizes, options: argparse.Namespace) -> Any:
    """Return the figures of one part."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    with threadpool_limits(1):
        if part == "peers":
            import peers

            return peers.measured(sizes, options.again, say)
        if part == "streams":
            import streams

            return streams.measured(sizes, options.openood, say)
        if part == "adapters":
            import adapters

            return adapters.measured(sizes, options.again, say)
        import scores

        return scores.alone(sizes, options.without, say) if part == "alone" else getattr(scores, part)(sizes)


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


# --------------------------------------------------------------------------------------------------------- tables


def show_alone(result: dict[str, Any]) -> None:
    """Print what each score costs alone."""
    print(f"\n{'alone':22}{'fit, s':>9}{'µs a sample':>13}{'study, s':>10}{'MB more':>9}")
    for name, row in sorted(result["alone"]["rows"].items(), key=lambda item: -item[1]["study_s"]):
        print(f"{name:22}{row['fit_s']:9.2f}{row['us_a_sample']:13.1f}{row['study_s']:10.1f}{row['mb']:9.0f}")


def show_together(result: dict[str, Any]) -> None:
    """Print what the stage costs, beside the same scores alone and their products, where these were measured."""
    one = result["together"]["rows"]
    what = f"{len(one['scores'])} scores of {one['samples']:,} samples"
    print(f"\ntogether: {what}, {one['cpu_s']:.1f} CPU s, at most {one['peak_mb']:.0f} MB")
    if "alone" in result:
        samples, rows = one["samples"], result["alone"]["rows"]
        alone = sum(rows[name]["fit_s"] + 1e-6 * rows[name]["us_a_sample"] * samples for name in one["scores"])
        print(f"the same, each alone: {alone:.1f} CPU s, {alone / one['cpu_s']:.1f} times as much")
    if "products" in result:
        unavoidable = sum(row["numpy_us_a_sample"] for row in result["products"]["rows"]) * one["samples"] / 1e6
        print(f"products that cannot be left out: {unavoidable:.1f} CPU s, {100 * unavoidable / one['cpu_s']:.0f} %")


def show_products(result: dict[str, Any]) -> None:
    """Print the matrix products."""
    print(f"\n{'products':52}{'NumPy, µs':>10}{'torch, µs':>10} a sample")
    for row in result["products"]["rows"]:
        print(f"{row['product']:52}{row['numpy_us_a_sample']:10.1f}{row['torch_us_a_sample']:10.1f}")


def show_peers(result: dict[str, Any]) -> None:
    """Print both sides of each score that pytorch-ood has, slowest first."""
    heads = ("fit, s", "µs a sample", "theirs / ours: fit, sample, study")
    print(f"\n{'ours, pytorch-ood':22}{heads[0]:>16}{heads[1]:>20}{heads[2]:>36}  float32")
    for row in sorted(result["peers"]["rows"], key=lambda row: row["ratio_study"]):
        fits, each = row["fit_s"], row["us_a_sample"]
        fit = f"{fits['ours']:.2f} {fits['theirs']:.2f}" if fits else ""
        ratio = f"{row['ratio_fit']:.2f}" if fits else ""
        single = f"{each['ours_float32']:.1f} {each['theirs_float32']:.1f}" if "ours_float32" in each else ""
        print(f"{row['score']:22}{fit:>16}{each['ours']:>10.1f}{each['theirs']:10.1f}{ratio:>16}"
              f"{row['ratio_predict']:10.2f}{row['ratio_study']:10.2f}  {single}")  # fmt: skip


def show_streams(result: dict[str, Any]) -> None:
    """Print the streams."""
    print(f"\n{'streams':18}{'CPU s':>8}{'µs a sample':>13}{'MB':>7}   theirs, µs a sample")
    for case, row in result["streams"]["rows"].items():
        other = row.get("theirs", "")
        other = f"{other['us_a_sample']:.0f}, of {other['samples']} samples" if isinstance(other, dict) else other
        print(f"{case:18}{row['cpu_s']:8.1f}{row['us_a_sample']:13.1f}{row['peak_mb']:7.0f}   {other}")


def show_adapters(result: dict[str, Any]) -> None:
    """Print the adapters."""
    print(f"\n{'adapters':52}{'ours, s':>9}{'torch, s':>10}{'ratio':>7}")
    for row in result["adapters"]["rows"]:
        ratio = row["torch"] / row["ours"]
        print(f"{row['what']:52}{row['ours']:9.2f}{row['torch']:10.2f}{ratio:7.2f}  {row['apart']}")


TABLES: dict[str, Callable[[dict[str, Any]], None]] = {part: globals()[f"show_{part}"] for part in PARTS}

if __name__ == "__main__":
    main()
