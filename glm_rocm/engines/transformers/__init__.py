"""The transformers engine: generation in this process, with our kernels behind Hugging Face's own GLM code.

    answer = generate("pocket", "What is 12 + 30?", thinking=False)

It is the command-line generator of GLM's README (`inference/trans_infer_cli.py`): chat template, greedy decoding, the
continuation. It does not serve. Attention, experts and FP8 linears are ours; the router, norms and rotary embedding
stay Hugging Face's, and the MTP layer is not used.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glm_rocm.engines.base import DEFAULT_OPTIONS, PLAN_VARIABLE, Contract, ServeOptions, handed_plan
from glm_rocm.engines.transformers.active import OPS
from glm_rocm.engines.transformers.install import SUPPORTED

if TYPE_CHECKING:
    from glm_rocm.engines.transformers.generation import Generation
    from glm_rocm.plan import Plan
    from glm_rocm.target import Target

__all__ = ["ENGINE", "OPS", "TransformersEngine", "generate", "plan_generation"]


class TransformersEngine:
    """See `glm_rocm.engines.base.Engine`."""

    name = "transformers"
    serves = False
    supported = SUPPORTED
    ops = OPS
    phases: tuple[tuple[str, str], ...] = ()

    def found_version(self) -> str | None:
        """The installed transformers, or None."""
        try:
            return importlib.metadata.version("transformers")
        except importlib.metadata.PackageNotFoundError:
            return None

    def command(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> list[str]:
        """Empty: generation runs in the process that asks for it."""
        return []

    def environment(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> dict[str, str]:
        """Empty: there is no process to give it to."""
        return {}

    def contracts(self) -> list[Contract]:
        """Each hook held against the installed transformers, which this imports; empty where it is not installed."""
        if self.found_version() is None:
            return []
        from glm_rocm.engines.transformers.hooks import HOOKS

        return [hook.check() for hook in HOOKS]

    def register(self) -> None:
        """Register the kernels of the plan that `GLM_ROCM_PLAN` names as `glm_rocm`; without a plan do nothing.

        Afterwards `model.set_attn_implementation("glm_rocm")` and `model.set_experts_implementation("glm_rocm")` switch
        a model over, also one that is loaded.
        """
        path = os.environ.get(PLAN_VARIABLE)
        if not path:
            return
        from glm_rocm.engines.transformers.install import install

        install(handed_plan(path))


ENGINE = TransformersEngine()

KEPT = "router, norms and rotary embedding are transformers' own; the MTP layer is not used"
"""The note of every plan made here."""


def plan_generation(
    model: str,
    target: Target | None = None,
    *,
    dtype: str = "auto",
    context: int | None = None,
    kernels: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    emulate: str = "",
) -> Plan:
    """The plan of generating with `model` on one device of `target` (detected where it is None).

    The cache of transformers is one growing tensor per sequence; our attention reads it as pages of one token.

    Raises:
        What `make_plan` raises.
    """
    from glm_rocm.plan import make_plan
    from glm_rocm.target import detect_target

    return make_plan(
        model,
        target or detect_target(),
        engine=ENGINE.name,
        tp=1,
        max_seqs=1,
        dtype=dtype,
        context=context,
        block_size=1,
        offload=False,
        kernels=kernels,
        ops=OPS,
        notes=(*notes, KEPT),
        emulate=emulate,
    )


def generate(
    model: str,
    prompt: str | Sequence[Mapping[str, Any]],
    *,
    plan: Plan | None = None,
    max_new_tokens: int = 128,
    thinking: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    stream: Callable[[str], None] | None = None,
) -> Generation:
    """One greedy answer. The model is loaded for this call; to ask again, keep what `generation.load` returns.

    Args:
        model: a checkpoint folder, a hub id in the local cache, or `pocket`.
        prompt: what the user says, or a list of chat messages.
        plan: what to run with; None: `plan_generation(model)`.
        max_new_tokens: tokens at most, the end-of-turn token included.
        thinking: let the model think first (`enable_thinking` of GLM's chat template).
        tools: tool schemas for the template, in OpenAI's form.
        stream: called with each piece of text as it comes.

    Raises:
        EngineError: transformers is missing, of another version or not as expected; no such device here.
        UsageError: the prompt and `max_new_tokens` exceed the plan's context; a malformed message.
    """
    from glm_rocm.engines.transformers.generation import load

    loaded = load(plan or plan_generation(model))
    return loaded.generate(prompt, max_new_tokens=max_new_tokens, thinking=thinking, tools=tools, stream=stream)
