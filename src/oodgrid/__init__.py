"""oodgrid: out-of-distribution detection with fine-tuned vision-language models, on cached features."""

__version__ = "0.1.0"
