"""OOD scores, one file each; `oodgrid.registry` finds them here."""
