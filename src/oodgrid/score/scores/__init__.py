"""OOD scores, one file each; `oodgrid.registry` finds them here."""

EXCLUDED = {
    "odin": "moves the pixels along the gradient of the network",
    "generalized_odin": "needs a head of its own that is trained with the whole network",
    "rank_feat": "takes the first singular value out of the feature maps inside the network",
    "gram": "needs the activations of every layer",
    "mc_dropout": "runs the network many times with dropout",
    "nac": "needs the activations of inner layers and their gradients",
    "setar": "edits weights of the image encoder: encode again with its weights, as a backbone of their own",
    "cma_oodd": "fine-tunes the image encoder: encode again with its weights, as a backbone of their own",
}
