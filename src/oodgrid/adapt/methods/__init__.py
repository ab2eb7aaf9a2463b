"""Fine-tuning methods, one file each; `oodgrid.registry` finds them here."""

EXCLUDED = {
    "maple": "its prompts are in the image encoder too, whose gradient a cache cannot give",
    "clipn": "trains a second text encoder on millions of captioned images and their pixels",
    "setar": "edits weights of the image encoder: encode again with its weights, as a backbone of their own",
    "id_like": "its outliers are random crops of the training images, chosen by similarity; its code is a README only",
    "local_prompt": "draws many random crops of every image anew at each step and learns from those most like the "
    "class, patch by patch: a cache of so many crops with their patches is larger than the images",
}
