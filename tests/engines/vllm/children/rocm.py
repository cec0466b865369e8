"""Drive vLLM's real RocmPlatform on a machine without one: `rocm.py gfx942`, with a stand-in for the driver's library.

`amdsmi` answers what the driver would (which architecture, how much memory); everything that is asked of vLLM is vLLM's
own. One architecture per process: vLLM reads it at import.
"""

import json
import os
import sys
import types
from collections.abc import Callable
from typing import Any

ARCH = sys.argv[1]


def stand_in() -> types.ModuleType:
    """amdsmi with one processor of the asked architecture; what vLLM does not need answers None."""
    answers: dict[str, Any] = {
        "amdsmi_get_processor_handles": lambda: [0],
        "amdsmi_get_gpu_asic_info": lambda handle: {
            "target_graphics_version": ARCH,
            "device_id": "0x74a1",
            "market_name": "stand-in",
        },
        "amdsmi_get_gpu_memory_total": lambda *arguments: 192 << 30,
    }

    def attribute(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name[0] == "A":  # exceptions and enumerations
            return type(name, (Exception,), {"VRAM": 0})
        return answers.get(name, lambda *arguments, **options: None)

    module = types.ModuleType("amdsmi")
    module.__file__ = __file__
    module.__getattr__ = attribute  # type: ignore[method-assign]
    return module


def let_triton_be_found() -> None:
    """vLLM asks Triton for a driver before it offers Triton kernels; the interpreter needs none."""
    import triton.backends

    driver = type("Driver", (), {"is_active": staticmethod(lambda: True)})
    triton.backends.backends["cpu"] = type("Backend", (), {"driver": driver})
    os.environ["TRITON_INTERPRET"] = "1"


def attempt(ask: Callable[[], Any]) -> str:
    try:
        return str(ask())
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"


sys.modules["amdsmi"] = stand_in()
let_triton_be_found()


def look() -> dict[str, Any]:
    import torch
    import vllm.platforms
    from vllm.platforms.cpu import CpuPlatform

    # The wheel holds compiled operators for a CPU, and only CpuPlatform picks those that this CPU can run.
    sys.modules["vllm._C"] = types.ModuleType("vllm._C")
    from vllm.platforms.rocm import RocmPlatform

    del sys.modules["vllm._C"]
    RocmPlatform.import_kernels = CpuPlatform.import_kernels  # type: ignore[method-assign]
    vllm.platforms.current_platform = platform = RocmPlatform()
    from vllm.plugins import load_general_plugins

    refused = attempt(load_general_plugins)
    if refused != "None":
        return {"refused": refused}

    from vllm.model_executor.kernels.linear import _POSSIBLE_FP8_BLOCK_KERNELS as BLOCKS
    from vllm.model_executor.kernels.linear import _POSSIBLE_FP8_KERNELS as CHANNELS
    from vllm.model_executor.kernels.linear import FP8ScaledMMLinearLayerConfig, choose_scaled_mm_linear_kernel
    from vllm.model_executor.layers.fused_moe.activation import MoEActivation
    from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig, FusedMoEParallelConfig, RoutingMethodType
    from vllm.model_executor.layers.fused_moe.oracle.fp8 import select_fp8_moe_backend
    from vllm.model_executor.layers.fused_moe.oracle.unquantized import select_unquantized_moe_backend
    from vllm.model_executor.layers.quantization.utils import quant_utils as keys
    from vllm.v1.attention.backends.registry import AttentionBackendEnum
    from vllm.v1.attention.selector import AttentionSelectorConfig

    def attention(name: str | None, cache: str = "auto") -> str:
        wanted = AttentionSelectorConfig(head_size=128, dtype=torch.bfloat16, kv_cache_dtype=cache, block_size=None)
        backend = AttentionBackendEnum[name] if name else None
        return attempt(lambda: platform.get_attn_backend_cls(backend, wanted).rpartition(".")[2])

    experts = FusedMoEConfig(
        num_experts=160,
        experts_per_token=8,
        hidden_dim=5120,
        intermediate_size=1536,
        num_local_experts=160,
        num_logical_experts=160,
        activation=MoEActivation.SILU,
        device="cpu",
        routing_method=RoutingMethodType.DeepSeekV3,
        moe_parallel_config=FusedMoEParallelConfig.make_no_parallel(),
        in_dtype=torch.bfloat16,
    )

    def linear(weight: Any, activation: Any, lists: Any) -> str:
        config = FP8ScaledMMLinearLayerConfig(weight, activation, (1792, 5120), torch.bfloat16, torch.bfloat16)
        return attempt(lambda: choose_scaled_mm_linear_kernel(config, lists, quantization="fp8_w8a8").__name__)

    channel, token = keys.kFp8StaticChannelSym, keys.kFp8DynamicTokenSym
    block, group = keys.kFp8Static128BlockSym, keys.kFp8Dynamic128Sym
    return {
        "fp8": str(platform.fp8_dtype()),
        "attention by default": attention(None),
        "attention CUSTOM": attention("CUSTOM"),
        "attention CUSTOM, FP8 cache": attention("CUSTOM", "fp8"),
        "experts bf16": attempt(lambda: select_unquantized_moe_backend(experts)[1].__name__),
        "experts per channel": attempt(lambda: select_fp8_moe_backend(experts, channel, token)[1].__name__),
        "experts per block": attempt(lambda: select_fp8_moe_backend(experts, block, group)[1].__name__),
        "linear per channel": linear(channel, token, CHANNELS),
        "linear per block": linear(block, group, BLOCKS),
    }


print("RESULT " + json.dumps(look()))
