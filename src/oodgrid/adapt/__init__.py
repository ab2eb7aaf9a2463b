"""The room adapt: fine-tuning on cached features: fit from shots, then apply to every set."""
