"""What a serving engine must offer: a command line made from a plan, a plug-in, and the hooks the plug-in stands on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from glm_rocm import backends
from glm_rocm.errors import PlanError
from glm_rocm.plan import Plan

PLAN_VARIABLE = "GLM_ROCM_PLAN"
"""The one environment variable by which a plan reaches the engine's processes: the path of its JSON file."""


def handed_plan(path: str) -> Plan:
    """The plan in the file that `GLM_ROCM_PLAN` names.

    Raises:
        PlanError: the file cannot be read, or holds no plan of this version.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise PlanError(
            f"`{PLAN_VARIABLE}` names `{path}`, which cannot be read ({problem.strerror})",
            required="the plan file that `glm-rocm serve` writes",
            hint=f"unset {PLAN_VARIABLE}",
        ) from problem
    return Plan.from_json(text)


def kernel_environment(plan: Plan) -> dict[str, str]:
    """What the chosen kernels' libraries need in an engine's environment; a variable that is set already stays."""
    if not any("flashinfer" in selection.chosen.requires for selection in plan.selections):
        return {}
    needed = backends.environment(plan.target)
    return {name: value for name, value in needed.items() if name not in os.environ}


def page_size(plan: Plan) -> int:
    """Tokens per page of the KV cache that the plan's attention kernel was chosen for; 0 where it chose none."""
    return next((s.problem.block_size for s in plan.selections if s.problem.op == "attention"), 0)  # type: ignore[attr-defined]


def cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class ServeOptions:
    """What concerns the server and not the model; everything that shapes the computation stands in the Plan.

    Attributes:
        host: address to bind to.
        port: TCP port.
        served_name: the model's name in requests; None takes the plan's model name.
        api_key: asked of every request when given. It travels in the environment, never in a command line.
        plan_file: path of the plan's JSON; without it the plug-in stays inactive and the engine runs its own kernels.
        drain_s: seconds that requests in flight get to end after SIGTERM.
        extra: arguments appended to the engine's command line as they are.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    served_name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    plan_file: str | None = None
    drain_s: int = 30
    extra: tuple[str, ...] = ()


DEFAULT_OPTIONS = ServeOptions()


@dataclass(frozen=True)
class Contract:
    """One place of an engine that the plug-in stands on, and whether it is as the plug-in needs it.

    Attributes:
        hook: dotted path in the engine.
        purpose: what the plug-in does there.
        required: the parameters or attributes it must have.
        found: what is there; `missing` where the path does not resolve.
        holds: whether `found` satisfies `required`.
    """

    hook: str
    purpose: str
    required: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Member:
    """One process of several that serve together.

    Attributes:
        name: for the reader of log and messages: `prefill`, `decode`, `router`.
        command: its argv.
        ports: (host, port) of all that it listens on.
    """

    name: str
    command: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]


@runtime_checkable
class Disaggregating(Protocol):
    """What an engine offers that serves prefill and decode apart, beside what every engine does."""

    def check_group(self, vendor: str) -> None:
        """Whether all that the group needs is installed.

        Args:
            vendor: the target's; it decides what to install.

        Raises:
            EngineError: something is not.
        """
        ...

    def members(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> tuple[Member, ...]:
        """The servers of a disaggregated plan, and last the router, which alone listens where `options` says.

        Raises:
            UsageError: `options.extra` decides what the group decides.
        """
        ...


class Engine(Protocol):
    """A serving engine. Importing its module imports neither the engine nor torch."""

    @property
    def name(self) -> str:
        """The word of `--engine`."""
        ...

    @property
    def serves(self) -> bool:
        """Whether it is a server that answers HTTP; False for in-process generation only."""
        ...

    @property
    def supported(self) -> str:
        """The engine versions the adapter is made for, as a PEP 440 specifier (`==0.32.*`)."""
        ...

    @property
    def ops(self) -> tuple[str, ...]:
        """The ops that it hands to our kernels; the rest it computes itself."""
        ...

    @property
    def phases(self) -> tuple[tuple[str, str], ...]:
        """(text in a line of its log, what it does from then on) in order of appearance, shown while it starts."""
        ...

    def found_version(self) -> str | None:
        """The installed version, read from package metadata; None where the engine is not installed."""
        ...

    def command(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> list[str]:
        """The argv that starts the server. Empty where the engine does not serve."""
        ...

    def environment(self, plan: Plan, options: ServeOptions = DEFAULT_OPTIONS) -> dict[str, str]:
        """The variables to add to the server's environment."""
        ...

    def contracts(self) -> list[Contract]:
        """Each hook held against the installed engine. Imports the engine; empty where it is not installed."""
        ...

    def register(self) -> None:
        """Put our kernels into the engine of this process. Re-entrant."""
        ...
