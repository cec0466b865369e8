"""The places of SGLang that the plug-in stands on, as data: each is held against the installed one before use.

SGLang has public registries for attention backends, MoE runners and the words of its command line, and its own way to
wrap a function by its dotted path (`HookRegistry`). No quantisation method of its own makes a runner of a name that it
does not know, so their methods are wrapped; and FP8 linears have no registry at all (0.5.23).
"""

from __future__ import annotations

from glm_rocm.engines.hook import Hook

_CHOICES = "sglang.srt.arg_groups.choices"
_QUANT = "sglang.srt.layers.quantization"
_SCHEMES = f"{_QUANT}.compressed_tensors.schemes"
_SPEC = "sglang.srt.speculative"

HOOK_REGISTRY = Hook(
    "sglang.srt.plugins.hook_registry:HookRegistry.register", "wrap a function", ("target", "hook", "hook_type")
)
HOOK_TYPES = Hook("sglang.srt.plugins.hook_registry:HookType", "wrap or replace it", members=("AROUND", "REPLACE"))
ATTENTION_CHOICES = Hook(
    f"{_CHOICES}:add_attention_backend_choices", "be `--attention-backend glm_rocm`", ("iterable",)
)
DRAFT_CHOICES = Hook(f"{_CHOICES}:add_draft_attention_backend_choices", "be the draft's as well", ("iterable",))
RUNNER_CHOICES = Hook(f"{_CHOICES}:add_moe_runner_backend_choices", "be `--moe-runner-backend glm_rocm`", ("iterable",))
ATTENTION_REGISTRY = Hook(
    "sglang.srt.layers.attention.attention_registry:register_attention_backend", "name our attention backend", ("name",)
)
ATTENTION = Hook(
    "sglang.srt.layers.attention.base_attn_backend:AttentionBackend",
    "run attention",
    members=("init_forward_metadata", "forward_decode", "forward_extend"),
)
ATTENTION_FORWARD = Hook(
    "sglang.srt.layers.attention.base_attn_backend:AttentionBackend.forward_extend",
    "run attention",
    ("self", "q", "k", "v", "layer", "forward_batch", "save_kv_cache"),
)
POOL = Hook(
    "sglang.srt.mem_cache.memory_pool:MHATokenToKVPool",
    "read and write the KV cache",
    members=("get_key_buffer", "get_value_buffer"),
)
RUNNER_REGISTRY = Hook(
    "sglang.srt.layers.moe.moe_runner:register_moe_runner_core", "name our MoE runner", ("backend_name", "factory")
)
RUNNER_CORE = Hook(
    "sglang.srt.layers.moe.moe_runner.base:DispatchMoeRunnerCore.run_from_dispatch",
    "run the routed experts",
    ("self", "dispatch_output", "quant_info", "runner_config", "hooks"),
)
MODEL_IS_CUDA = Hook("sglang.srt.models.glm4_moe:_is_cuda", "know who multiplies by the routed scale")
MODEL_USES_AITER = Hook("sglang.srt.models.glm4_moe:_use_aiter", "know who multiplies by the routed scale")
BF16_RUNNER = Hook(
    f"{_QUANT}.unquant:UnquantizedFusedMoEMethod.create_moe_runner",
    "make our runner of unquantised experts",
    ("self", "layer", "moe_runner_config"),
)
BF16_EXPERTS = Hook(f"{_QUANT}.unquant:UnquantizedFusedMoEMethod.apply", "run it", ("self", "layer", "dispatch_output"))
BLOCK_RUNNER = Hook(
    f"{_QUANT}.fp8:Fp8MoEMethod.create_moe_runner",
    "make our runner of FP8 experts in blocks",
    ("self", "layer", "moe_runner_config"),
)
BLOCK_EXPERTS = Hook(f"{_QUANT}.fp8:Fp8MoEMethod.apply", "run it", ("self", "layer", "dispatch_output"))
CHANNEL_RUNNER = Hook(
    f"{_SCHEMES}.compressed_tensors_w8a8_fp8_moe:CompressedTensorsW8A8Fp8MoE.create_moe_runner",
    "make our runner of FP8 experts per channel",
    ("self", "layer", "moe_runner_config"),
)
CHANNEL_EXPERTS = Hook(
    f"{_SCHEMES}.compressed_tensors_w8a8_fp8_moe:CompressedTensorsW8A8Fp8MoE.apply_weights",
    "be run by it",
    ("self", "layer", "dispatch_output"),
)
BLOCK_LINEAR = Hook(f"{_QUANT}.fp8:Fp8LinearMethod.apply", "run a block FP8 linear", ("self", "layer", "x", "bias"))
CHANNEL_LINEAR = Hook(
    f"{_SCHEMES}.compressed_tensors_w8a8_fp8:CompressedTensorsW8A8Fp8.apply_weights",
    "run an FP8 linear",
    ("self", "layer", "x", "bias"),
)
CAPABILITY = Hook(
    f"{_QUANT}.compressed_tensors.compressed_tensors:CompressedTensorsConfig._check_scheme_supported",
    "take FP8 on a CPU",
    ("self", "min_capability", "error"),
)
DRAFT_STEPS = Hook(f"{_SPEC}.draft_utils:DraftBackendFactory.create_decode_backend", "run a draft's steps", ("self",))
DRAFT_EXTEND = Hook(f"{_SPEC}.draft_utils:DraftBackendFactory.create_draft_extend_backend", "extend a draft", ("self",))
BUILD_TREE = Hook(
    "sglang.kernels.ops.speculative.spec_tree:build_tree_kernel_efficient_func",
    "lay out a chain of drafts on a CPU",
    (
        "parent_list",
        "top_scores_index",
        "seq_lens",
        "tree_mask",
        "positions",
        "retrieve_index",
        "retrieve_next_token",
        "retrieve_next_sibling",
        "topk",
        "spec_steps",
        "num_verify_tokens",
        "tree_mask_mode",
    ),
)
VERIFY_TREE = Hook(
    "sglang.kernels.ops.speculative.spec_tree:verify_tree_greedy_func",
    "verify it on a CPU",
    (
        "predicts",
        "accept_index",
        "accept_token_num",
        "candidates",
        "retrieve_index",
        "retrieve_next_token",
        "retrieve_next_sibling",
        "target_predict",
        "topk",
    ),
)
SAMPLE_TREE = Hook(f"{_SPEC}.eagle_utils:tree_speculative_sampling_target_only", "sample beside drafts on a CPU")
TOP_K = Hook(f"{_SPEC}.eagle_utils:top_k_renorm_prob", "sample the k likeliest on a CPU")
TOP_P = Hook(f"{_SPEC}.eagle_utils:top_p_renorm_prob", "sample the likeliest on a CPU")
SHARE_WEIGHTS = Hook(
    "sglang.srt.models.glm4_moe:Glm4MoeForCausalLM.set_embed_and_head",
    "share the MTP layer's embedding on a CPU",
    ("self", "embed", "head"),
)
CACHE_SENDER = Hook(
    "sglang.srt.disaggregation.mooncake.conn:MooncakeKVSender",
    "hand a KV cache over on a CPU",
    members=("supports_host_tensor_indices",),
)
TOOL_PARSERS = Hook(
    "sglang.srt.function_call.function_call_parser:FunctionCallParser.ToolCallParserEnum",
    "be `--tool-call-parser glm`",
    members=("get",),
)
TOOL_PARSER = Hook(
    "sglang.srt.function_call.glm4_moe_detector:Glm4MoeDetector.parse_streaming_increment",
    "read tool calls",
    ("self", "new_text", "tools"),
)
REASONING_PARSERS = Hook(
    "sglang.srt.parser.reasoning_parser:ReasoningParser.DetectorMap", "be `--reasoning-parser glm45`", members=("get",)
)
REASONING_PARSER = Hook(
    "sglang.srt.parser.reasoning_parser:Glm45Detector",
    "tell thinking from what follows it",
    (
        "stream_reasoning",
        "force_reasoning",
        "force_nonempty_content",
        "continue_final_message",
        "previous_content",
        "reasoning_default",
    ),
    members=("parse_streaming_increment", "detect_and_parse", "finish"),
)
PLATFORM = Hook(
    "sglang.srt.platforms.interface:SRTPlatform",
    "be a CPU platform",
    members=(
        "get_default_attention_backend",
        "get_dispatch_key_name",
        "supports_speculative_algorithm",
        "supports_speculative_draft_attention_backend",
    ),
)

HOOKS: tuple[Hook, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Hook))
"""Every hook of this file, in its order."""
