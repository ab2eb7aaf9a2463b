"""Text features of one template."""

from __future__ import annotations

from pathlib import Path

from oodgrid.encode.importing.reading import load_array, read_names
from oodgrid.encode.importing.writing import write_texts
from oodgrid.errors import OodgridError


def import_text(results: Path, backbone: str, dataset: str, file: Path, classnames: Path | None, template: str) -> Path:
    """Import text features, (K, D) of one template, and return the file written.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        dataset: The ID dataset whose classes these are.
        file: .pt or .npy.
        classnames: A JSON list, a JSON object from index to name, or a text file with one name a line.
        template: The prompt with {} for the name.

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match.
    """
    values = load_array(file)
    if values.ndim != 2:
        raise OodgridError(f"{file} has shape {values.shape}: text features must be (classes, dimensions)")
    names = read_names(classnames) if classnames else [f"class {k}" for k in range(len(values))]
    if len(names) != len(values):
        raise OodgridError(f"{file} holds {len(values)} text features but {classnames} {len(names)} names")
    return write_texts(results, backbone, dataset, values[None], names, [template], {"format": "text"})
