"""Geometry of the pocket GLM: GLM-4.6 as one rank of a TP 8 run sees it, with fewer and narrower layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PocketConfig:
    """The sizes of a trainable pocket GLM, in the notation of the ops.

    The attention (12 query heads on 1 KV head, head_dim 128), the expert width (192), the routed
    scale (2.5), QK-norm and the rotary half of each head are GLM-4.5/4.6's own at TP 8; hidden size, depth,
    number of experts and vocabulary are cut down until two CPU cores can train the model.
    """

    vocab_size: int = 1024
    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 12
    num_kv_heads: int = 1
    head_dim: int = 128
    dense_size: int = 512
    expert_size: int = 192
    num_experts: int = 8
    experts_per_token: int = 2
    first_moe_layer: int = 1
    routed_scale: float = 2.5
    rotary_fraction: float = 0.5
    rope_theta: float = 1e6
    norm_eps: float = 1e-5
    max_positions: int = 4096

    @property
    def rotary_dim(self) -> int:
        """Number of leading dimensions of each head that are rotated."""
        return int(self.head_dim * self.rotary_fraction)
