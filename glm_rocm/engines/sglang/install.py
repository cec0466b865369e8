"""Put our kernels into the SGLang of this process: what the entry point `sglang.srt.plugins` runs, in every process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from typing import Any

from glm_rocm.backends import emulation
from glm_rocm.engines.active import chosen
from glm_rocm.engines.checks import refuse_aiter, refuse_broken_hooks
from glm_rocm.engines.hook import Hook
from glm_rocm.engines.sglang import hooks, torchvision
from glm_rocm.engines.sglang.command import BACKEND
from glm_rocm.engines.sglang.versions import SUPPORTED, found_version, is_supported
from glm_rocm.errors import EngineError
from glm_rocm.plan import Plan

_installed: list[Plan] = []
"""The plan whose kernels are in this process's SGLang: its registries take a name once."""


def install(plan: Plan) -> None:
    """Hook attention, experts, linears and drafts in, after checking that this SGLang is one we know. Re-entrant.

    Raises:
        EngineError: another SGLang version, a hook not as it must be, or AITER asked for behind the plan's back.
    """
    check_version()
    check_aiter(plan, os.environ)
    if _installed:
        return
    torchvision.watch()
    if multiprocessing.parent_process() is None:  # what SGLang spawns runs the code that its parent has checked
        check_hooks()
    if plan.emulate:
        emulation.activate(plan.emulate)
    _install_attention()
    _install_experts()
    _install_linears()
    _install_parsers()
    if plan.target.vendor == "cpu":
        _install_cpu()
    _installed.append(plan)


def check_version() -> None:
    """Refuse an SGLang that the plug-in was not made for, before it loads a model."""
    version = found_version()
    if version is None or not is_supported(version):
        raise EngineError(
            f"SGLang {version or 'without package metadata'} is installed",
            required=f"glm-rocm's plug-in is made for SGLang {SUPPORTED}",
            hint=f"pip install 'sglang{SUPPORTED}', or `unset GLM_ROCM_PLAN` to run SGLang without our kernels",
        )


def check_aiter(plan: Plan, environment: Mapping[str, str]) -> None:
    """Refuse `SGLANG_USE_AITER` when no kernel of the plan is AITER's: SGLang would shuffle the weights for it."""
    asked = environment.get("SGLANG_USE_AITER", "0").lower() in ("1", "true", "yes", "y")
    refuse_aiter(plan, "SGLANG_USE_AITER", asked=asked)


def check_hooks() -> None:
    """Refuse an SGLang of the right version whose insides are not as we know them (a fork, a vendor's build)."""
    refuse_broken_hooks(hooks.HOOKS, "SGLang", SUPPORTED)


def _install_attention() -> None:
    """Register the backend, for the model and for the steps of a draft."""
    for choices in (hooks.ATTENTION_CHOICES, hooks.DRAFT_CHOICES):
        choices.resolve()([BACKEND])

    def create(runner: Any) -> Any:
        from glm_rocm.engines.sglang.attention import GlmAttentionBackend

        return GlmAttentionBackend(runner)

    hooks.ATTENTION_REGISTRY.resolve()(BACKEND)(create)
    from glm_rocm.engines.sglang import speculation

    _around(hooks.DRAFT_STEPS, speculation.create_decode_backend)
    _around(hooks.DRAFT_EXTEND, speculation.create_draft_extend_backend)


def _install_experts() -> None:
    """Register the runner, and have each quantisation method that GLM's checkpoints need make it."""
    hooks.RUNNER_CHOICES.resolve()([BACKEND])
    if chosen("moe.experts") is None:
        return
    from glm_rocm.engines.sglang import experts

    hooks.RUNNER_REGISTRY.resolve()(BACKEND, experts.GlmRunner)
    for runner in (hooks.BF16_RUNNER, hooks.BLOCK_RUNNER, hooks.CHANNEL_RUNNER):
        _around(runner, experts.create_moe_runner)
    for method in (hooks.BF16_EXPERTS, hooks.BLOCK_EXPERTS):
        _around(method, experts.apply)


def _install_linears() -> None:
    """FP8 linears by the plan's kernel."""
    if chosen("linear") is None:
        return
    from glm_rocm.engines.sglang import linear

    _around(hooks.BLOCK_LINEAR, linear.apply_fp8)
    _around(hooks.CHANNEL_LINEAR, linear.apply_compressed)


def _install_parsers() -> None:
    """Take the names of GLM-4.5's and 4.6's parsers of tool calls and of thinking; `glm47` stays SGLang's."""
    from glm_rocm.engines.sglang.parsing import GlmCalls, GlmThinking

    for name in ("glm", "glm45"):
        hooks.TOOL_PARSERS.resolve()[name] = GlmCalls
    hooks.REASONING_PARSERS.resolve()["glm45"] = GlmThinking


def _install_cpu() -> None:
    """What SGLang does on a GPU alone, as far as GLM needs it: accept FP8, and draft by the MTP layer."""
    from glm_rocm.engines.sglang import speculation

    _replace(hooks.CAPABILITY, lambda config, min_capability, error=True: True)
    _replace(hooks.BUILD_TREE, speculation.build_chain)
    _replace(hooks.VERIFY_TREE, speculation.verify_chain)
    _replace(hooks.SHARE_WEIGHTS, speculation.set_embed_and_head)
    # Here SGLang has no function to replace: each name stands for None.
    hooks.SAMPLE_TREE.replace(speculation.sample_chain)
    hooks.TOP_K.replace(speculation.keep_top_k)
    hooks.TOP_P.replace(speculation.keep_top_p)
    # A prefill server would fetch the numbers of its pages through pinned memory and wait for a CUDA event.
    hooks.CACHE_SENDER.resolve().supports_host_tensor_indices = False


def _around(hook: Hook, function: Callable[..., Any]) -> None:
    """Have SGLang call `function(original, ...)` in the place's stead."""
    hooks.HOOK_REGISTRY.resolve()(hook.dotted, function, hooks.HOOK_TYPES.resolve().AROUND)


def _replace(hook: Hook, function: Callable[..., Any]) -> None:
    hooks.HOOK_REGISTRY.resolve()(hook.dotted, function, hooks.HOOK_TYPES.resolve().REPLACE)
