"""Fine-tuning methods, one file each; `oodgrid.registry` finds them here."""

EXCLUDED = {
    "maple": "its prompts are in the image encoder too, whose gradient a cache cannot give",
    "clipn": "trains a second text encoder on millions of captioned images and their pixels",
    "setar": "edits weights of the image encoder: encode again with its weights, as a backbone of their own",
    "id_like": "its outliers are random crops of the training images, chosen by similarity; its code is a README only",
    "local_prompt": "not built: every step picks, out of many random crops of an image, those most like its class, and "
    "learns from their patches; cached, that is 3 GB a crop for 16 shots of ImageNet",
}
