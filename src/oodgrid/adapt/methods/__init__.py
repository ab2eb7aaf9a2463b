"""Fine-tuning methods, one file each; `oodgrid.registry` finds them here."""
