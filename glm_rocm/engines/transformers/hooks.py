"""The places of transformers that the engine stands on, as data. All but the last two are public registries."""

from __future__ import annotations

from glm_rocm.engines.hook import Hook

ATTENTION = Hook("transformers:AttentionInterface.register", "register our attention", ("key", "value"))
MASK = Hook("transformers:AttentionMaskInterface.register", "hand padding to our attention as it is", ("key", "value"))
CAUSAL = Hook(
    "transformers.masking_utils:causal_mask_function",
    "tell a plain causal mask from any other",
    ("batch_idx", "head_idx", "q_idx", "kv_idx"),
)
EXPERTS = Hook("transformers.integrations.moe:ALL_EXPERTS_FUNCTIONS", "register our experts", members=("register",))
QUANTIZER = Hook("transformers.quantizers.auto:register_quantizer", "load FP8 checkpoints as FP8", ("name",))
QUANTIZER_CONFIG = Hook(
    "transformers.quantizers.auto:register_quantization_config", "load FP8 checkpoints as FP8", ("method",)
)
EXPERTS_FORWARD = Hook(
    "transformers.models.glm4_moe.modeling_glm4_moe:Glm4MoeExperts.forward",
    "be called with tokens, ids and weights",
    ("self", "hidden_states", "top_k_index", "top_k_weights"),
)
PREPROCESS = Hook(
    "transformers.quantizers.base:HfQuantizer._process_model_before_weight_loading",
    "put FP8 modules in the place of those of the checkpoint's dtype",
    ("self", "model"),
)

HOOKS: tuple[Hook, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Hook))
"""Every hook of this file, in its order."""
