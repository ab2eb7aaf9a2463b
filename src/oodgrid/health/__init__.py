"""Whether a machine is fit for an experiment: what `oodgrid doctor` looks at, each in a module of its own.

Nothing here computes, downloads or imports torch where it can be helped; `filesystem` alone writes, a probe that it
removes.
"""

from oodgrid.health.filesystem import of_folder, of_space
from oodgrid.health.findings import NOTE, OK, UNFIT, Finding
from oodgrid.health.machine import of_cores, of_gpu, of_machine, of_memory
from oodgrid.health.versions import of_versions
from oodgrid.health.weights import of_weights

__all__ = [
    "NOTE",
    "OK",
    "UNFIT",
    "Finding",
    "of_cores",
    "of_folder",
    "of_gpu",
    "of_machine",
    "of_memory",
    "of_space",
    "of_versions",
    "of_weights",
]
