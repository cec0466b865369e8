"""The multi-token-prediction layer in plain fp32 (vLLM, `glm4_moe_mtp.py`; transformers leaves it out)."""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm.model.spec import ModelSpec
from glm_rocm.reference.block import Batch, Cache, block
from glm_rocm.reference.norm_rope import rms_norm
from glm_rocm.reference.weights import MtpWeights


def mtp(
    embedded: Tensor,
    hidden: Tensor,
    weights: MtpWeights,
    cache: Cache,
    batch: Batch,
    cos_sin: Tensor,
    spec: ModelSpec,
) -> tuple[Tensor, Tensor]:
    """Guess the token after the next one.

    Args:
        embedded: `[T, H]` embedding of the token that follows each row, which the model has just chosen; taken as 0
            where the row's position is 0.
        hidden: `[T, H]` the model's last hidden state of each row, its final norm applied.
        cache: this layer's own pages.
        batch: the rows' positions and pages, as the model had them.

    Returns:
        Logits `[T, vocab]` and this layer's hidden state `[T, H]`, which a further step takes as `hidden`.
    """
    embedded = torch.where(batch.positions[:, None] == 0, 0.0, embedded.float())
    joined = torch.cat(
        [
            rms_norm(embedded, weights.embed_norm, spec.rms_eps),
            rms_norm(hidden, weights.hidden_norm, spec.rms_eps),
        ],
        -1,
    )  # [T, 2H]
    deeper = block(weights.combine(joined), weights.block, cache, batch, cos_sin, spec)
    return rms_norm(deeper, weights.norm, spec.rms_eps) @ weights.head.float().T, deeper
