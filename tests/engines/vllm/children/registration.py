"""Load vLLM's plug-ins as its processes do, twice, and tell what stands at our hooks afterwards."""

import json
import sys
from dataclasses import asdict
from typing import Any

from vllm import plugins


def names(classes: list[type]) -> list[str]:
    return [kernel.__name__ for kernel in classes]


def path(backend: Any) -> str | None:
    try:
        return str(backend.get_path())
    except ValueError:
        return None


def look() -> dict[str, Any]:
    from vllm.model_executor.kernels import linear
    from vllm.model_executor.layers.fused_moe.oracle import fp8, unquantized
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    from glm_rocm.engines import get_engine

    return {
        "CUSTOM": path(AttentionBackendEnum.CUSTOM),
        "CPU_ATTN": path(AttentionBackendEnum.CPU_ATTN),
        "unquantized": names(unquantized.backend_to_kernel_cls(unquantized.UnquantizedMoeBackend.CPU)),
        "fp8": names(fp8.backend_to_kernel_cls(fp8.Fp8MoeBackend.TRITON)),
        "fp8 priority": [backend.name for backend in fp8._get_priority_backends(None, None, None)],
        "linears": {
            platform.name: [
                names(linear._POSSIBLE_FP8_KERNELS.get(platform, [])),
                names(linear._POSSIBLE_FP8_BLOCK_KERNELS.get(platform, [])),
            ]
            for platform in linear._POSSIBLE_FP8_KERNELS
        },
        "tool parser": ToolParserManager.get_tool_parser("glm45").__name__,
        "tool parser glm47": ToolParserManager.get_tool_parser("glm47").__name__,
        "reasoning parser": ReasoningParserManager.get_reasoning_parser("glm45").__name__,
        "contracts": {contract.hook: asdict(contract) for contract in get_engine("vllm").contracts()},
    }


plugins.load_general_plugins()
plugins.plugins_loaded = False
plugins.load_general_plugins()
light = ("command", "engine", "versions")
ours = [
    name for name in sys.modules if name.startswith("glm_rocm.engines.vllm.") and name.rpartition(".")[2] not in light
]
print("RESULT " + json.dumps({**look(), "our modules": sorted(ours)}))
