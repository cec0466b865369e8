"""The places of vLLM that the plug-in stands on, as data: each is held against the installed vLLM before it is used.

vLLM has public registries for attention backends and tool parsers. For MoE backends it has none (its own note in
`oracle/fp8.py` says so, 0.32), and its registry of linear kernels appends at the end; there we stand on internals,
which move from release to release. So each place states the parameters it must have, and `glm-rocm doctor` prints which
hold.
"""

from __future__ import annotations

from glm_rocm.engines.hook import Hook

_MOE = "vllm.model_executor.layers.fused_moe"
_LINEAR = "vllm.model_executor.kernels.linear"

REGISTER_BACKEND = Hook(
    "vllm.v1.attention.backends.registry:register_backend",
    "name our attention backend",
    ("backend", "class_path"),
)
BACKEND_ENUM = Hook(
    "vllm.v1.attention.backends.registry:AttentionBackendEnum",
    "be `CUSTOM`, and `CPU_ATTN` on a CPU",
    members=("CUSTOM", "CPU_ATTN"),
)
ATTENTION_FORWARD = Hook(
    "vllm.v1.attention.backend:AttentionImpl.forward",
    "run attention",
    ("self", "layer", "query", "key", "value", "kv_cache", "attn_metadata", "output"),
)
ATTENTION_METADATA = Hook(
    "vllm.v1.attention.backend:AttentionMetadataBuilder.build",
    "describe a batch",
    ("self", "common_prefix_len", "common_attn_metadata", "fast_build"),
)
PLATFORM = Hook(
    "vllm.platforms.cpu:CpuPlatform", "keep FP8 as an emulated card does", members=("is_fp8_fnuz", "fp8_dtype")
)
EXPERTS_APPLY = Hook(
    f"{_MOE}.modular_kernel:FusedMoEExpertsModular.apply",
    "run the routed experts",
    (
        "self",
        "output",
        "hidden_states",
        "w1",
        "w2",
        "topk_weights",
        "topk_ids",
        "activation",
        "global_num_experts",
        "expert_map",
        "a1q_scale",
        "a2_scale",
        "workspace13",
        "workspace2",
        "expert_tokens_meta",
        "apply_router_weight_on_input",
    ),
)
RUNNER = Hook(
    f"{_MOE}.runner.moe_runner:MoERunner",
    "scale the routed experts once in float16 too",
    members=("_maybe_apply_routed_scale_to_output",),
)
ROUTED_SCALE = Hook(
    f"{_MOE}.runner.moe_runner:MoERunner._maybe_apply_routed_scale_to_output",
    "scale the routed experts once in float16 too",
    ("self", "shared_output", "fused_output"),
)
BF16_CLASSES = Hook(f"{_MOE}.oracle.unquantized:backend_to_kernel_cls", "offer our unquantised experts", ("backend",))
BF16_PRIORITY = Hook(f"{_MOE}.oracle.unquantized:_get_priority_backends", "offer them first", ("moe_config",))
BF16_BACKENDS = Hook(f"{_MOE}.oracle.unquantized:UnquantizedMoeBackend", "stand in for", members=("CPU", "TRITON"))
FP8_CLASSES = Hook(f"{_MOE}.oracle.fp8:backend_to_kernel_cls", "offer our FP8 experts", ("backend",))
FP8_PRIORITY = Hook(
    f"{_MOE}.oracle.fp8:_get_priority_backends", "offer them first", ("moe_config", "weight_key", "activation_key")
)
FP8_BACKENDS = Hook(f"{_MOE}.oracle.fp8:Fp8MoeBackend", "stand in for", members=("TRITON",))
CHANNEL_LINEARS = Hook(f"{_LINEAR}:_POSSIBLE_FP8_KERNELS", "offer our FP8 linear first", members=("get",))
BLOCK_LINEARS = Hook(f"{_LINEAR}:_POSSIBLE_FP8_BLOCK_KERNELS", "offer our block FP8 linear first", members=("get",))
LINEAR_APPLY = Hook(
    f"{_LINEAR}.scaled_mm:FP8ScaledMMLinearKernel.apply_weights", "run an FP8 linear", ("self", "layer", "x", "bias")
)
BLOCK_LINEAR_APPLY = Hook(
    f"{_LINEAR}.scaled_mm:Fp8BlockScaledMMLinearKernel.apply_weights",
    "run a block FP8 linear",
    ("self", "layer", "x", "bias"),
)
_PARSER = "vllm.parser.engine"
TOOL_PARSERS = Hook(
    "vllm.tool_parsers:ToolParserManager.register_lazy_module",
    "be `--tool-call-parser glm45`",
    ("name", "module_path", "class_name"),
)
REASONING_PARSERS = Hook(
    "vllm.reasoning:ReasoningParserManager.register_lazy_module",
    "be `--reasoning-parser glm45`",
    ("name", "module_path", "class_name"),
)
GRAMMARS = Hook(
    "vllm.tool_parsers.structural_tag_registry:register_vllm_structural_tag",
    "name the grammar of a forced call",
    ("model",),
)
GLM_MACHINE = Hook("vllm.parser.glm47_moe:glm47_moe_config", "read GLM's marks", ("thinking",))
GLM_PARSER = Hook(
    "vllm.parser.glm47_moe:Glm47MoeParser",
    "take an answer apart",
    ("tokenizer", "tools"),
    ("_reset", "_build_extracted_result", "_strip_content_whitespace", "finish_streaming"),
)
PARSER_DELTA = Hook(
    f"{_PARSER}.parser_engine:ParserEngine._events_to_delta", "mend text", ("self", "events", "finished")
)
PARSER_ARGUMENTS = Hook(
    f"{_PARSER}.parser_engine:ParserEngine._handle_arg_chunk", "mend a first key", ("self", "event", "deltas")
)
TOOL_ADAPTER = Hook(
    f"{_PARSER}.adapters:ParserEngineToolAdapter", "offer it as a tool parser", members=("adjust_request",)
)
REASONING_ADAPTER = Hook(
    f"{_PARSER}.adapters:ParserEngineReasoningAdapter",
    "offer it as a reasoning parser",
    members=("extract_content_ids",),
)

HOOKS: tuple[Hook, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Hook))
"""Every hook of this file, in its order."""
