"""The plan that this process serves, and the kernels it chose. Nothing here imports an engine or torch."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from glm_rocm import backends
from glm_rocm.engines.base import PLAN_VARIABLE, handed_plan
from glm_rocm.errors import PlanError
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.kernel import Kernel
from glm_rocm.plan import Plan


@functools.cache
def active_plan() -> Plan | None:
    """The plan named by `GLM_ROCM_PLAN`, read once per process; None where the variable is unset or empty.

    Raises:
        PlanError: the variable names no readable file, or the file is not a plan of this version.
    """
    path = os.environ.get(PLAN_VARIABLE)
    return handed_plan(path) if path else None


def chosen(op: str) -> Kernel | None:
    """The kernel that the active plan chose for an op; None without a plan, or where the plan has no such op."""
    plan = active_plan()
    if plan is None or op not in {selection.problem.op for selection in plan.selections}:
        return None
    return backends.by_name(plan.chosen(op))


@functools.cache
def kernel(op: str) -> Callable[..., Any]:
    """The function behind the kernel that the plan chose for `op`, imported on first use.

    Raises:
        PlanError: the plan chose no kernel for the op, or different ones at different shapes.
    """
    return _required(op).load()


@functools.cache
def store_kernel() -> Callable[..., Any]:
    """`store_kv` of the module that holds the chosen attention kernel: the two must agree on what a page holds."""
    module = _required("attention").entry.partition(":")[0]
    store: Callable[..., Any] = importlib.import_module(module).store_kv
    return store


def require_attention(heads: int, kv_heads: int, head_dim: int) -> None:
    """Refuse a model that is not the plan's: a plan file may outlive, in a shell, the model that it was made for.

    Raises:
        PlanError: the plan poses no attention problem of this shape.
    """
    plan = active_plan()
    posed = [selection.problem for selection in plan.selections] if plan else []
    shapes = [(p.heads, p.kv_heads, p.head_dim) for p in posed if isinstance(p, AttentionProblem)]
    if (heads, kv_heads, head_dim) not in shapes:
        raise PlanError(
            f"a rank of this model has {heads} query and {kv_heads} key heads of {head_dim}",
            required=f"the plan's model, `{plan.model.name if plan else None}`: {shapes}",
            hint=f"unset {PLAN_VARIABLE}, or start it with `glm-rocm serve MODEL`",
        )


def _required(op: str) -> Kernel:
    found = chosen(op)
    if found is None:
        raise PlanError(f"the plan has no kernel for op `{op}`", hint="make a new plan with `glm-rocm plan MODEL`")
    return found
