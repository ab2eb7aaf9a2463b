"""The files in which the stages meet: written whole or not at all, checked when read, never unpickled.

Feature, text and view files are HDF5, learned parameters safetensors, tables Parquet, manifests JSON. Every file is
written beside its place, synced and renamed, so a killed job leaves the old file or none.
Without its seal a file is refused. Tables of other people are read by `frames`.
"""

from oodgrid.store import frames
from oodgrid.store.attributes import array_shapes, read_attribute, read_digest, read_provenance
from oodgrid.store.features import (
    Features,
    NewFeatures,
    Sources,
    open_features,
    open_layer_features,
    read_features,
    read_labels,
    read_sources,
    read_split_labels,
    write_features,
)
from oodgrid.store.files import (
    SEAL,
    UNSEALED,
    atomic,
    existing,
    mend,
    no_memory,
    opened,
    parse_json,
    read_bytes,
    refuse_to_replace,
    run_record,
    sync,
)
from oodgrid.store.floats import check_finite
from oodgrid.store.hdf5 import FORMAT, Blocks
from oodgrid.store.local_features import open_local_rows, read_local_features, read_local_rows
from oodgrid.store.pseudo_ood import PseudoOodTexts, read_pseudo_ood, write_pseudo_ood
from oodgrid.store.rows import StoredRows, recut
from oodgrid.store.seal import USER_BLOCK, check, checksum
from oodgrid.store.tables import (
    OpenTable,
    check_ours,
    read_arrays,
    read_json,
    read_metadata,
    read_table,
    write_arrays,
    write_json,
    write_table,
)
from oodgrid.store.texts import NewTexts, Texts, read_texts, write_texts
from oodgrid.store.views import NewViews, Views, read_views, write_views

__all__ = [
    "FORMAT",
    "SEAL",
    "UNSEALED",
    "USER_BLOCK",
    "Blocks",
    "Features",
    "NewFeatures",
    "NewTexts",
    "NewViews",
    "OpenTable",
    "PseudoOodTexts",
    "Sources",
    "StoredRows",
    "Texts",
    "Views",
    "array_shapes",
    "atomic",
    "check",
    "check_finite",
    "check_ours",
    "checksum",
    "existing",
    "frames",
    "mend",
    "no_memory",
    "open_features",
    "open_layer_features",
    "open_local_rows",
    "opened",
    "parse_json",
    "read_arrays",
    "read_attribute",
    "read_bytes",
    "read_digest",
    "read_features",
    "read_json",
    "read_labels",
    "read_local_features",
    "read_local_rows",
    "read_metadata",
    "read_provenance",
    "read_pseudo_ood",
    "read_sources",
    "read_split_labels",
    "read_table",
    "read_texts",
    "read_views",
    "recut",
    "refuse_to_replace",
    "run_record",
    "sync",
    "write_arrays",
    "write_features",
    "write_json",
    "write_pseudo_ood",
    "write_table",
    "write_texts",
    "write_views",
]
