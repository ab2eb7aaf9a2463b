"""Local features: one for every patch of an image, in the joint space, from the same forward pass as the global one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    import torch

# Part of the identity of every file that holds local features.
DEFINITION = "last block with its values in place of attention (residuals and MLP kept), ln_post, projection"


def check_local_features(name: str, model: torch.nn.Module) -> None:
    """Refuse a model whose image tower is no vision transformer of open_clip's plain kind.

    Raises:
        OodgridError: It is not.
    """
    visual = getattr(model, "visual", None)
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    plain = (
        blocks is not None
        and type(blocks[-1]).__name__ == "ResidualAttentionBlock"
        and getattr(visual, "attn_pool", None) is None
        and getattr(visual, "proj", None) is not None
        and blocks[-1].attn.in_proj_weight is not None
    )
    if not plain:
        raise OodgridError(
            f"backbone {name} has no local features: they are defined for open_clip's vision transformers without "
            "attentional pooling; write local_features: false"
        )


def encode_with_local(model: torch.nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image features (N, D) and local features (N, P, D), both not normalised, of one forward pass.

    With x the input of the last block and v(x) = W_out (W_v ln_1(x) + b_v) + b_out, the path of the values alone:
    u = x + v(x), then u + mlp(ln_2(u)), ln_post and the projection, without the class token; patches row by row.
    That is what the code of GL-MCM (Miyai et al. 2025, github.com/AtsuMiyai/GL-MCM, clip/model.py) and of LoCoOp
    (Miyai et al. 2023, clip_w_local/model.py) computes: residuals and MLP stay, attention's mixing of patches goes.

    Args:
        model: An open_clip model that `check_local_features` accepts.
        pixels: Shape (N, 3, H, W), preprocessed.
    """
    seen: list[torch.Tensor] = []
    block = model.visual.transformer.resblocks[-1]

    def keep(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0])

    hook = block.register_forward_pre_hook(keep)
    try:
        image = model.encode_image(pixels, normalize=False)
    finally:
        hook.remove()
    tokens = seen[0]
    if not model.visual.transformer.batch_first:
        tokens = tokens.transpose(0, 1)
    return image, _project(model.visual, block, tokens)[:, 1:]


def _project(visual: torch.nn.Module, block: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Carry tokens, shape (N, 1 + P, W), through the last block's value path into the joint space."""
    import torch

    attention = block.attn
    width = tokens.shape[-1]
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[2 * width :]
    values = torch.nn.functional.linear(block.ln_1(tokens), attention.in_proj_weight[2 * width :], bias)
    tokens = tokens + block.ls_1(attention.out_proj(values))
    tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return visual.ln_post(tokens) @ visual.proj
