"""Our experts behind transformers' experts interface, for weights in the checkpoint's own dtype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glm_rocm.engines.transformers.active import kernel


def run_experts(self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """The routed experts of one layer.

    Args:
        self: `Glm4MoeExperts`, with `gate_up_proj [E, 2N, H]` (gate first) and `down_proj [E, H, N]`.
        hidden_states: `[T, H]`.
        top_k_index: `[T, K]`; under expert parallelism an expert of another rank has the number E.
        top_k_weights: `[T, K]`, scaled already by the router.

    Returns:
        `[T, H]`.
    """
    ids = local_ids(top_k_index, int(self.gate_up_proj.shape[0]), bool(self._is_expert_parallel))
    result: Tensor = kernel("moe.experts")(hidden_states, self.gate_up_proj, self.down_proj, ids, top_k_weights.float())
    return result


def local_ids(ids: Tensor, experts: int, parallel: bool) -> Tensor:
    """Ids as our kernels take them: an expert of another rank is -1."""
    return torch.where(ids >= experts, -1, ids) if parallel else ids
