"""Register our functions with transformers, under the name `glm_rocm`."""

from __future__ import annotations

from glm_rocm.engines.transformers import attention, experts, hooks
from glm_rocm.engines.transformers.active import NAME


def register() -> None:
    """Attention with its mask, experts, FP8. Re-entrant.

    The mask must be registered along with the attention: without it transformers passes no mask at all, and a padded
    batch is wrong in silence.
    """
    hooks.ATTENTION.resolve()(NAME, attention.attend)
    hooks.MASK.resolve()(NAME, attention.padding_mask)
    hooks.EXPERTS.resolve().register(NAME, experts.run_experts)
    from glm_rocm.engines.transformers import fp8  # registers itself once, when it is imported

    assert fp8.Fp8Config.quant_method == NAME
