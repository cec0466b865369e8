"""What each engine's plug-in refuses before a model is loaded. Nothing here imports an engine."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from glm_rocm.engines.hook import Hook
from glm_rocm.errors import EngineError
from glm_rocm.plan import Plan


def refuse_aiter(plan: Plan, variable: str, *, asked: bool) -> None:
    """Refuse AITER that a variable asks of an engine on ROCm when no kernel of the plan is AITER's.

    Raises:
        EngineError: the variable would overrule the plan.
    """
    planned = any("aiter" in selection.chosen.name for selection in plan.selections)
    if plan.target.vendor == "rocm" and asked and not planned:
        raise EngineError(
            f"`{variable}` is set, and the plan has chosen no AITER kernel",
            required="AITER only where the plan says so",
            hint=f"unset {variable}",
        )


def refuse_broken_hooks(hooks: Sequence[Hook], engine: str, supported: str) -> None:
    """Refuse an engine of the right version whose insides are not as we know them (a fork, a vendor's build).

    Raises:
        EngineError: a hook does not hold; names the first.
    """
    broken = [contract for contract in (hook.check() for hook in hooks) if not contract.holds]
    if broken:
        first = broken[0]
        raise EngineError(
            f"`{first.hook}` of the installed {engine} is `{first.found}`, and {len(broken) - 1} other hooks differ",
            required=f"`{first.required}`, as in {engine} {supported}",
            hint="glm-rocm doctor",
        )


def refuse_hidden_plugin(group: str, name: str, engine: str) -> None:
    """Refuse an installation whose plug-in the engine would not find: it would serve with its own kernels in silence.

    Raises:
        EngineError: no installed package has the entry point.
    """
    if not importlib.metadata.entry_points(group=group, name=name):
        raise EngineError(
            f"no entry point `{name}` in `{group}`",
            required=f"glm-rocm installed as a package, so that each {engine} process loads it",
            hint="pip install -e .",
        )
