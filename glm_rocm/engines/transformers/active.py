"""The kernels that `glm_rocm` means inside transformers: those of the plan that was installed last in this process.

Importing this imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glm_rocm import backends
from glm_rocm.engines.base import PLAN_VARIABLE
from glm_rocm.errors import EngineError, PlanError
from glm_rocm.plan import Plan

NAME = "glm_rocm"
"""What our attention, experts and FP8 quantiser are called in transformers' registries."""

OPS = ("attention", "moe.experts", "linear")
"""What transformers hands to our kernels."""

FIRST_VERSION = (5, 19)
NEXT_MAJOR = 6
SUPPORTED = f">={FIRST_VERSION[0]}.{FIRST_VERSION[1]},<{NEXT_MAJOR}"
"""5.19 is what the tests run; the registries are public, and each hook is checked before it is used."""

_kernels: dict[str, Callable[..., Any]] = {}


def kernel(op: str) -> Callable[..., Any]:
    """The function that runs `op`.

    Raises:
        PlanError: no plan is installed, or it has no kernel for the op.
    """
    try:
        return _kernels[op]
    except KeyError:
        raise PlanError(
            f"no kernel is installed for op `{op}`",
            required="a plan made for engine `transformers`",
            hint="call `glm_rocm.engines.transformers.active.install(plan)` first",
        ) from None


def install(plan: Plan) -> None:
    """Load the plan's kernels and register them. Re-entrant; the plan installed last serves every model.

    Raises:
        EngineError: transformers is absent, of another version, or its hooks are not as they must be.
    """
    check_version()
    from glm_rocm.engines.transformers import hooks
    from glm_rocm.engines.transformers.registry import register

    broken = [contract for contract in (hook.check() for hook in hooks.HOOKS) if not contract.holds]
    if broken:
        raise EngineError(
            f"`{broken[0].hook}` of the installed transformers is `{broken[0].found}`",
            required=f"`{broken[0].required}`, as in transformers {SUPPORTED}",
            hint="pip install 'glm-rocm[transformers-cpu]'",
        )
    planned = {selection.problem.op for selection in plan.selections}
    _kernels.clear()
    _kernels.update({op: backends.by_name(plan.chosen(op)).load() for op in OPS if op in planned})
    register()


def check_version() -> None:
    """Refuse a transformers that is absent or outside `SUPPORTED`."""
    hint = "pip install 'glm-rocm[transformers-cpu]'"
    required = f"transformers {SUPPORTED}"
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        raise EngineError("transformers is not installed", required=required, hint=hint) from None
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < FIRST_VERSION or major >= NEXT_MAJOR:
        raise EngineError(f"transformers {version} is installed", required=required, hint=hint)


def read_plan(path: str) -> Plan:
    """The plan in the file that `GLM_ROCM_PLAN` names."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(
            f"`{PLAN_VARIABLE}` names `{path}`, which cannot be read ({error.strerror})",
            required="a plan file",
            hint=f"unset {PLAN_VARIABLE}",
        ) from error
    return Plan.from_json(text)
