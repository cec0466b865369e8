"""The SGLang engine as the rest of the house sees it."""

from __future__ import annotations

from dataclasses import dataclass

from glm_rocm.engines.base import DEFAULT_OPTIONS, Contract, Member, ServeOptions
from glm_rocm.engines.sglang import command, group, torchvision, versions
from glm_rocm.plan import Plan


@dataclass(frozen=True)
class SglangEngine:
    """See `engines.base.Engine`.

    Attributes:
        ops: what SGLang's GLM model asks us for, the same as vLLM's; norms, rotary embedding and routing are its own.
    """

    name: str = "sglang"
    serves: bool = True
    supported: str = versions.SUPPORTED
    ops: tuple[str, ...] = ("attention", "moe.experts", "linear")
    phases: tuple[tuple[str, str], ...] = (
        ("server_args=", "starting the engine"),
        ("Load weight begin", "loading weights"),
        ("Load weight end", "preparing kernels"),
        ("KV Cache is allocated", "warming up"),
        ("Uvicorn running on", "opening the port"),
    )

    def found_version(self) -> str | None:
        """The installed SGLang's version."""
        return versions.found_version()

    def command(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> list[str]:
        """SGLang's command line for the plan."""
        return command.command(plan, options)

    def environment(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> dict[str, str]:
        """The variables to add for it."""
        return command.environment(plan, options)

    def check_group(self, vendor: str) -> None:
        """Whether the router and what moves the KV cache are installed."""
        group.check(vendor)

    def members(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> tuple[Member, ...]:
        """The prefill servers, the decode servers and the router of a disaggregated plan."""
        return group.members(plan, options)

    def contracts(self) -> list[Contract]:
        """Each hook of `hooks.py` held against the installed SGLang, which is imported."""
        if self.found_version() is None:
            return []
        from glm_rocm.engines.sglang.hooks import HOOKS

        torchvision.watch()
        return [hook.check() for hook in HOOKS]

    def register(self) -> None:
        """What SGLang's entry point runs."""
        from glm_rocm.engines.sglang import register

        register()
