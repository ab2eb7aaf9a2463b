"""Fine-tuning methods, one file each; `oodgrid.registry` finds them here."""

EXCLUDED = {
    "maple": "its prompts are in the image encoder too, whose gradient a cache cannot give",
    "clipn": "trains a second text encoder on millions of captioned images and their pixels",
    "setar": "edits weights of the image encoder: encode again with its weights, as a backbone of their own",
    "id_like": "its outliers are random crops of the training images, chosen by similarity; its code is a README only",
    "local_prompt": "not built: a step compares the patches of those random crops of an image that are most and least "
    "like its class, of which a fit here sees one an epoch; and it leaves prompts for patches beside those for images",
}
