"""Where a model goes: the tensor-parallel degree, the context that the memory allows, and what moves to host memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from glm_rocm.errors import PlanError, UsageError
from glm_rocm.model.spec import ModelSpec
from glm_rocm.plan.memory import (
    GIB,
    MEMORY_FRACTION,
    MemoryFit,
    Workload,
    estimate,
    offload_needed,
    smallest_tp,
)
from glm_rocm.target import Target

CONTEXT_UNIT = 1024
LEAST_CONTEXT = 8192
"""A context that the plan chooses itself is no shorter than this; below it the model does not count as fitting."""

OFFLOAD_CONTEXT = 32768
"""Context that weights are moved to host memory for when none is asked: enough for a long conversation."""

DEVICES_PER_MACHINE = 8


@dataclass(frozen=True)
class Wishes:
    """What was asked for; None leaves the choice to the plan."""

    tp: int | None
    context: int | None
    max_seqs: int | None
    mtp: int
    dtype: str
    kv_dtype: str
    fraction: float = MEMORY_FRACTION
    offload: bool = True


@dataclass(frozen=True)
class Placement:
    """Degree, context and memory of a plan, and the sentences that explain them."""

    tp: int
    context: int
    max_seqs: int
    fit: MemoryFit
    notes: tuple[str, ...]


def place(spec: ModelSpec, target: Target, wishes: Wishes) -> Placement:
    """The placement of `spec` on `target`.

    TP is the largest degree that the devices and the model's shapes allow. A context must fit as often as `max_seqs`
    says where that is asked for, else once; one that is not asked for is the model's own or the longest that fits.

    Raises:
        UsageError: a wish that is no sensible number.
        PlanError: the model cannot be cut so, its context is shorter than asked, or it does not fit.
    """
    _refuse_nonsense(spec, wishes)
    tp, notes = _degree(spec, target, wishes.tp)
    requests = wishes.max_seqs or 1
    max_seqs = wishes.max_seqs or (16 if target.vendor == "cpu" else 256)

    def attempt(context: int, offload: int = 0) -> MemoryFit:
        return estimate(spec, target, tp, workload(context), offload=offload)

    def workload(context: int) -> Workload:
        return Workload(context, requests, max_seqs, wishes.dtype, wishes.kv_dtype, wishes.mtp, wishes.fraction)

    fit = _fit(spec, target, wishes, attempt, requests)
    if not fit.fits:
        raise _too_large(spec, target, wishes, fit, smallest_tp(spec, target, workload(fit.context)))
    fit = replace(fit, smallest_tp=smallest_tp(spec, target, workload(fit.context)))
    return Placement(tp, fit.context, max_seqs, fit, (*notes, *_notes(spec, target, fit)))


def _refuse_nonsense(spec: ModelSpec, wishes: Wishes) -> None:
    for flag, value in (("--tp", wishes.tp), ("--context", wishes.context), ("--max-seqs", wishes.max_seqs)):
        if value is not None and value < 1:
            raise UsageError(f"`{flag} {value}`", required="a whole number of 1 or more", hint=f"`{flag} 1`")
    if not 0 < wishes.fraction <= 1:
        raise UsageError(f"memory fraction {wishes.fraction}", required="above 0 and at most 1", hint="use 0.92")
    if wishes.context is not None and wishes.context > spec.max_context:
        raise PlanError(
            f"a context of {wishes.context} tokens was asked of `{spec.name}`",
            required=f"at most the {spec.max_context} that the model was made for",
            hint=f"`--context {spec.max_context}`",
        )
    if wishes.mtp < 0 or wishes.mtp > 8:
        raise UsageError(f"`--mtp {wishes.mtp}`", required="0 to 8 draft tokens", hint="`--mtp 1`")
    if wishes.mtp and not spec.mtp_layers:
        raise PlanError(
            f"`--mtp {wishes.mtp}` was asked of `{spec.name}`, whose config has no MTP layer",
            required="`num_nextn_predict_layers` of 1",
            hint="drop `--mtp`",
        )


def _degree(spec: ModelSpec, target: Target, asked: int | None) -> tuple[int, tuple[str, ...]]:
    """The degree asked for, or the largest that both the devices and the model allow."""
    if asked is None:
        tp = spec.valid_tps(target.count)[-1] if spec.valid_tps(target.count) else 1
        idle = target.count - tp
        reason = spec.refuse_tp(target.count)
        return tp, (f"{idle} of {target.count} devices stay idle: {reason}",) if idle and reason else ()
    spec.per_rank(asked)
    if asked > target.count:
        raise PlanError(
            f"TP {asked} on {target.count} device{'s' if target.count > 1 else ''} ({target.name})",
            required=f"a TP of at most {target.count}",
            hint=f"`--tp {spec.valid_tps(target.count)[-1]}`, or state more devices with `--gpus`",
        )
    return asked, ()


def _fit(
    spec: ModelSpec, target: Target, wishes: Wishes, attempt: Callable[..., MemoryFit], requests: int
) -> MemoryFit:
    """The first of: as asked; as long as the memory allows; with some weights in host memory. May not fit."""
    fit = attempt(wishes.context or spec.max_context)
    if fit.fits:
        return fit
    if wishes.context is None:
        longest = fit.kv_tokens // requests // CONTEXT_UNIT * CONTEXT_UNIT
        if longest >= min(LEAST_CONTEXT, spec.max_context):
            return attempt(longest)
    if wishes.offload and target.vendor != "cpu":
        context = wishes.context or min(OFFLOAD_CONTEXT, spec.max_context)
        fit = attempt(context)
        offload = offload_needed(fit)
        if offload is not None:
            return attempt(context, offload)
    # What is then refused, and with which cure, is told of the least that would count as fitting.
    return attempt(wishes.context or min(LEAST_CONTEXT, spec.max_context))


def _too_large(spec: ModelSpec, target: Target, wishes: Wishes, fit: MemoryFit, smallest: int | None) -> PlanError:
    many = f"{fit.requests} requests" if fit.requests > 1 else "one request"
    rest = fit.activations + fit.graphs + fit.runtime
    found = (
        f"`{spec.name}` at TP {fit.tp} needs {fit.needed / 1e9:.1f} GB per device for {many} of {fit.context} tokens "
        f"(weights {fit.weights.total / 1e9:.1f}, KV cache {fit.kv_asked / 1e9:.1f}, the rest {rest / 1e9:.1f})"
    )
    giver = "this machine" if target.vendor == "cpu" else target.name
    required = f"at most the {fit.budget / 1e9:.1f} GB that {giver} gives the engine"
    # The KV cache alone may be what does not fit; then less of it is the nearer cure.
    fewer = fit.kv_tokens // fit.requests // CONTEXT_UNIT * CONTEXT_UNIT
    if wishes.context is not None and fewer >= CONTEXT_UNIT:
        return PlanError(found, required=required, hint=f"`--context {fewer}` fits here")
    if target.vendor == "cpu":
        return PlanError(found, required=required, hint="serve the shipped model with `glm-rocm serve pocket`")
    cure = f"`glm-rocm plan {spec.name} --gpus {target.device}:{smallest}`" if smallest else ""
    if smallest and smallest <= target.count:
        return PlanError(found, required=required, hint=f"`--tp {smallest}`")
    if spec.quantization.scheme == "none" and target.fp8_dtype:
        cure += f"{' or ' if cure else ''}its FP8 checkpoint, which takes half the memory"
    return PlanError(found, required=required, hint=cure or "plan for a card with more memory")


def _notes(spec: ModelSpec, target: Target, fit: MemoryFit) -> tuple[str, ...]:
    notes = []
    if fit.offload:
        notes.append(
            f"{fit.offload // GIB} GiB of each device's weights stay in host memory (`--cpu-offload-gb "
            f"{fit.offload // GIB}`): without that it would not fit; every step then waits on the host link"
        )
    if fit.context < spec.max_context:
        notes.append(f"context {fit.context} of the model's {spec.max_context}")
    copies = spec.per_rank(fit.tp).kv_copies
    if copies > 1:
        notes.append(f"each of the {spec.kv_heads} KV heads is kept by {copies} ranks, since TP {fit.tp} exceeds them")
    if fit.tp > DEVICES_PER_MACHINE and target.vendor != "cpu":
        notes.append(f"TP {fit.tp} spans several machines; `glm-rocm serve` starts the processes of one")
    return tuple(notes)
