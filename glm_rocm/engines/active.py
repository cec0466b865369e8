"""The plan that this process serves, and the kernels it chose. Nothing here imports an engine or torch."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

from glm_rocm import backends
from glm_rocm.backends import tuned
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
    found = _required(op)
    _use_tuned_choices()
    return found.load()


@functools.cache
def _use_tuned_choices() -> None:
    """Once a process: what the user measured on this card goes before the shipped launch choices."""
    plan = active_plan()
    line = tuned.use(plan.target.arch, tuned.default_path(plan.target.arch)) if plan else ""
    if line:
        logging.getLogger(__name__).warning(line)


@functools.cache
def store_kernel() -> Callable[..., Any]:
    """`store_kv` of the module that holds the chosen attention kernel: the two must agree on what a page holds."""
    module = _required("attention").entry.partition(":")[0]
    store: Callable[..., Any] = importlib.import_module(module).store_kv
    return store


@functools.cache
def batch_planner() -> Callable[..., Any] | None:
    """`plan_batch` of the module that holds the chosen attention kernel; None where a batch needs no plan."""
    module = _required("attention").entry.partition(":")[0]
    planner: Callable[..., Any] | None = getattr(importlib.import_module(module), "plan_batch", None)
    return planner


_turned: dict[int, int] = {}
"""By the address of a layer's w13: the version of its contents that the chosen kernel has arranged as it wants them."""


def experts(x: Any, w13: Any, w2: Any, ids: Any, weights: Any, *, w13_scale: Any = None, **options: Any) -> Any:
    """`ops.moe.experts` by the chosen kernel. One that wants the weights otherwise arranged gets them so, in place, at
    the first call and after each change: w13 is then no longer as the checkpoint has it."""
    run, prepare = _experts_calls()
    if prepare is not None and _turned.get(w13.data_ptr()) != _version(w13):
        prepare(w13, w13_scale)
        _turned[w13.data_ptr()] = _version(w13)
    return run(x, w13, w2, ids, weights, w13_scale=w13_scale, **options)


def _version(weight: Any) -> int:
    """What counts up when a tensor is written to; torch keeps no count of tensors made for inference, nor of what is
    written through `.data`: an engine that exchanges weights while it serves has to be started anew."""
    return 0 if weight.is_inference() else int(weight._version)


@functools.cache
def _experts_calls() -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """The chosen experts; where their module has `prepare_experts`, that and the call that follows it."""
    run = kernel("moe.experts")
    module = importlib.import_module(_required("moe.experts").entry.partition(":")[0])
    prepare: Callable[..., Any] | None = getattr(module, "prepare_experts", None)
    return (module.experts_prepared if prepare else run), prepare


def attention_problem() -> AttentionProblem:
    """The attention problem that the active plan poses.

    Raises:
        PlanError: it poses none.
    """
    plan = active_plan()
    for selection in plan.selections if plan else ():
        if isinstance(selection.problem, AttentionProblem):
            return selection.problem
    raise PlanError("the plan has no kernel for op `attention`", hint="make a new plan with `glm-rocm plan MODEL`")


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
