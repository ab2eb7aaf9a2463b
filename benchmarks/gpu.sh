#!/usr/bin/env bash
# All that is to be measured where a GPU is at hand, in one go: benchmarks/gpu.sh [--small | EXPERIMENT.yaml]
# Encoding by model and precision, ways of decoding and of feeding the device, training steps of prompt learners, all
# scores, and one whole experiment. --small tries what encodes, on the packaged model, in a minute and writes nothing.
# Prints the tables to paste into docs/cache.md, docs/methods.md and docs/scores.md; benchmarks/*.json hold them.
set -euo pipefail
cd "$(dirname "$0")/.."
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv || echo "no GPU: these are figures of CPUs"
if [ "${1:-}" = --small ]; then
	python benchmarks/gpu.py --small
	python benchmarks/decode.py --small
	exit
fi
python benchmarks/gpu.py
python benchmarks/decode.py
python benchmarks/prompt_learning.py
python benchmarks/scale.py
if [ $# -gt 0 ]; then
	time snakemake --cores all --configfile "$1"
	oodgrid check "$1"
fi
