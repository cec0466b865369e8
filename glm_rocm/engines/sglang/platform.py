"""A CPU without AMX as an SGLang platform: PyTorch's own operators wherever SGLang would call its CPU kernel package.

SGLang's own CPU platform (SGLANG_USE_CPU_ENGINE=1) imports `sgl_kernel`, for which PyPI has no CPU wheel (0.5.23), and
wants a CPU with AMX. Here its layers take their `forward_native`; attention, experts and FP8 linears are the plan's.
"""

from __future__ import annotations

from typing import ClassVar

from sglang.srt.platforms.cpu import CpuDeviceMixin
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import PlatformCapabilities, SRTPlatform

from glm_rocm.engines.sglang.command import BACKEND


class GlmCpuPlatform(CpuDeviceMixin, SRTPlatform):  # type: ignore[misc]
    """See `sglang.srt.platforms.interface.SRTPlatform`."""

    _enum = PlatformEnum.OOT
    device_name: str = "cpu"
    device_type: str = "cpu"
    # No graphs to capture, and no Triton: it has no CPU backend, so SGLang takes its torch-native allocator.
    capabilities: ClassVar[PlatformCapabilities] = PlatformCapabilities()

    def get_default_attention_backend(self) -> str:
        """The plan's attention."""
        return BACKEND

    def get_dispatch_key_name(self) -> str:
        """SGLang's layers run as `forward_native`: plain torch."""
        return "native"

    def supports_speculative_algorithm(self, algorithm: str) -> bool:
        """EAGLE, under which SGLang drafts with GLM's MTP layer; see `speculation.py`."""
        return algorithm in ("EAGLE", "NEXTN")

    def supports_speculative_draft_attention_backend(self, algorithm: str, backend: str) -> bool:
        """Ours alone: the draft's attention is the plan's too."""
        return backend == BACKEND

    def get_default_speculative_draft_attention_backend(self, algorithm: str) -> str:
        """The plan's attention."""
        return BACKEND
