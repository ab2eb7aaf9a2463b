"""Text features of one template."""

from __future__ import annotations

from pathlib import Path

from oodgrid.backbones.array_files import load_array
from oodgrid.counts import counted
from oodgrid.encode.importing.writing import write_texts
from oodgrid.encode.lines import read_names
from oodgrid.encode.text_lists.tables import TextTable, read_table
from oodgrid.errors import OodgridError


def import_text(
    results: Path,
    backbone: str,
    name: str,
    file: Path,
    classnames: Path | None,
    template: str,
    of_list: bool = False,
) -> Path:
    """Import text features, (K, D) of one template, and return the file written.

    Args:
        results: The results folder.
        backbone: The name under which configurations know the encoder.
        name: The ID dataset whose classes these are, or the list of other texts.
        file: .pt or .npy.
        classnames: A JSON list, a JSON object from index to name, or a text file with one name per line; of a
            list of other texts also what `file:` of its entry takes, with kinds.
        template: The prompt with {} for the name.
        of_list: These are no class names but a list of other texts (`label_lists:` of a configuration).

    Raises:
        OodgridError: A file is missing or unreadable, or counts do not match.
    """
    values = load_array(file)
    if values.ndim != 2:
        raise OodgridError(f"{file} has shape {values.shape}: text features must be (classes, dimensions)")
    names, kinds = _names(classnames, len(values), of_list)
    if len(names) != len(values):
        raise OodgridError(
            f"{file} holds {counted(len(values), 'text feature')} but {classnames} {counted(len(names), 'name')}"
        )
    return write_texts(results, backbone, name, values[None], names, [template], {"format": "text"}, kinds)


def _names(file: Path | None, count: int, of_list: bool) -> tuple[list[str], list[str] | None]:
    if of_list:
        table = read_table(file) if file else TextTable([f"label {k}" for k in range(count)], [""] * count)
        return table.names, table.kinds
    return read_names(file) if file else [f"class {k}" for k in range(count)], None
