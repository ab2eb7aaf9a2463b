"""The files in which the stages meet: written whole or not at all, checked when read, never unpickled.

Feature, text and view files are HDF5, learned parameters safetensors, tables Parquet, manifests JSON. Every file is
written beside its place, synced and renamed, so a killed job leaves the old file or none.
"""

from oodgrid.store.features import (
    Features,
    Sources,
    Texts,
    Views,
    array_shapes,
    check_finite,
    read_attribute,
    read_features,
    read_labels,
    read_local_features,
    read_local_rows,
    read_provenance,
    read_sources,
    read_texts,
    read_views,
    verify,
    write_features,
    write_texts,
    write_views,
)
from oodgrid.store.files import SEAL, UNSEALED, atomic, check, run_record
from oodgrid.store.hdf5 import FORMAT, Blocks
from oodgrid.store.tables import read_arrays, read_json, read_table, write_arrays, write_json, write_table

__all__ = [
    "FORMAT",
    "SEAL",
    "UNSEALED",
    "Blocks",
    "Features",
    "Sources",
    "Texts",
    "Views",
    "array_shapes",
    "atomic",
    "check",
    "check_finite",
    "read_arrays",
    "read_attribute",
    "read_features",
    "read_json",
    "read_labels",
    "read_local_features",
    "read_local_rows",
    "read_provenance",
    "read_sources",
    "read_table",
    "read_texts",
    "read_views",
    "run_record",
    "verify",
    "write_arrays",
    "write_features",
    "write_json",
    "write_table",
    "write_texts",
    "write_views",
]
