"""The vLLM engine as the rest of the house sees it."""

from __future__ import annotations

from dataclasses import dataclass

from glm_rocm.engines.base import DEFAULT_OPTIONS, Contract, ServeOptions
from glm_rocm.engines.vllm import command, versions
from glm_rocm.plan import Plan


@dataclass(frozen=True)
class VllmEngine:
    """See `engines.base.Engine`.

    Attributes:
        ops: vLLM's GLM model asks us for attention, experts and FP8 linears; norms, rotary embedding and routing are
            its own.
    """

    name: str = "vllm"
    serves: bool = True
    supported: str = versions.SUPPORTED
    ops: tuple[str, ...] = ("attention", "moe.experts", "linear")
    phases: tuple[tuple[str, str], ...] = (
        ("non-default args", "reading the model's config"),
        ("Initializing a V1 LLM engine", "starting the engine"),
        ("Starting to load model", "loading weights"),
        ("Loading weights took", "preparing kernels"),
        ("KV cache size", "warming up"),
        ("Starting vLLM server", "opening the port"),
    )

    def found_version(self) -> str | None:
        """The installed vLLM's version, accelerator build or CPU wheel."""
        return versions.found_version()

    def command(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> list[str]:
        """vLLM's command line for the plan."""
        return command.command(plan, options)

    def environment(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> dict[str, str]:
        """The variables to add for it."""
        return command.environment(plan, options)

    def contracts(self) -> list[Contract]:
        """Each hook of `hooks.py` held against the installed vLLM, which is imported."""
        if self.found_version() is None:
            return []
        from glm_rocm.engines.vllm.hooks import HOOKS

        return [hook.check() for hook in HOOKS]

    def register(self) -> None:
        """What vLLM's entry point runs."""
        from glm_rocm.engines.vllm import register

        register()
