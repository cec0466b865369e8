"""The block level: whole layers through the kernels, every stage held against the reference on its own inputs.

A stage is compared on the tensors that it was really given, so an error of an earlier stage is not counted against it:
the first stage that misses its gate is the one that is wrong, not the last that shows it. What the errors add up to
over the layer is a check of its own.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from glm_rocm.backends import candidates
from glm_rocm.model.spec import ModelSpec
from glm_rocm.numerics import E4M3FNUZ, FORMATS, calc_diff
from glm_rocm.ops.select import select
from glm_rocm.reference.attention import store_kv
from glm_rocm.reference.block import Batch, Cache
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.weights import BlockWeights, MtpWeights, load_block, load_mtp
from glm_rocm.validate.layer import KEEPS_FP32, STAGES, Chain, Stage, stages_of
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.op_attention import K_SCALE, V_SCALE
from glm_rocm.validate.op_moe import ids_check
from glm_rocm.validate.ops import problems
from glm_rocm.validate.results import Case, Check, check
from glm_rocm.validate.trial import NAN, bits, worst
from glm_rocm.validate.weights import for_target, quantized, tensors_of

PAGE = 16
CALLS = (33, 4, 1)
"""Rows of each call: a prefill, an MTP verify, a decode, of one sequence that grows."""
PRECISIONS = ("bfloat16", "fp8", "fp8 and fp8 cache")
KERNEL_STAGES = ("norm_rope", "attention", "moe.route", "moe.experts", "linear")
PRODUCTS = ("qkv", "o_proj", "moe.experts", "shared", "mlp")
"""Stages that multiply FP8 weights where a layer is quantised."""
LAYER = "layer"
"""The name under which a whole layer's carried error is reported."""


@dataclass
class Watch:
    """Compares each stage of a chain as it runs; the worst check of each gate is kept."""

    dtype: torch.dtype
    fp8: bool
    fp8_cache: bool
    reference: Mapping[str, Stage]
    found: dict[str, dict[str, Check]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ids: list[Tensor] = field(default_factory=list)
    owned: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def __call__(
        self, name: str, stage: Stage, arguments: tuple[Any, ...], options: dict[str, Any], result: Any
    ) -> None:
        begun = time.monotonic()
        for one in self._checks(name, arguments, options, result):
            kept = self.found.setdefault(name, {})
            known = kept.get(one.gate)
            if known is None or (known.passed, -known.measured) > (one.passed, -one.measured):
                kept[one.gate] = one
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def _checks(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any], result: Any) -> Iterator[Check]:
        if name == "store_kv":
            self.owned = torch.cat([self.owned, arguments[4]])
            yield cache_check(arguments, options, self.owned)
            return
        want = self.reference[name](*arguments, **options)
        if name == "moe.route":
            self.ids.append(result[0])
            yield from self._route(arguments[0], arguments[1], result, want)
            return
        got, right = (x if isinstance(x, tuple) else (x,) for x in (result, want))
        for part, (found, expected) in enumerate(zip(got, right, strict=True)):
            where = f"part {part}, " if len(got) > 1 else ""
            yield from self._compare(name, found, expected, where)

    def _route(
        self, logits: Tensor, bias: Tensor, got: tuple[Tensor, Tensor], want: tuple[Tensor, Tensor]
    ) -> Iterator[Check]:
        sound = torch.isfinite(logits).all(-1)
        ids, weights, right_ids, right = (x[sound] for x in (*got, *want))
        yield ids_check(ids, right_ids, logits[sound], bias, exact=False)
        same = (ids == right_ids).all(-1)
        error = ((weights - right).abs() / right.abs().clamp_min(1e-30)).amax(-1)
        where, largest = worst(torch.where(same, error, torch.zeros_like(error)))
        yield check("weights", largest, where=where)

    def _compare(self, name: str, found: Tensor, expected: Tensor, where: str) -> Iterator[Check]:
        # Where the reference is not finite either, an earlier stage is to blame.
        sound = torch.isfinite(expected.reshape(expected.shape[0], -1).float()).all(-1)
        found, expected = found[sound], expected[sound]
        bad = ~torch.isfinite(found.reshape(found.shape[0], -1).float()).all(-1)
        yield check("finite", int(bad.sum()), where=where.rstrip(", "))
        kind = str(self.dtype).removeprefix("torch.")
        if name in KEEPS_FP32:
            kind = "float32"
        if (self.fp8 and name in PRODUCTS) or (self.fp8_cache and name == "attention"):
            kind = "float8"
        token, diff = worst(calc_diff(found, expected))
        yield check(f"same_bits.{kind}", diff, where=f"{where}{token}")


def cache_check(arguments: tuple[Any, ...], options: Mapping[str, Any], owned: Tensor) -> Check:
    """The slots of the stored rows hold what the reference stores, and slots that nobody owns are NaN as they were."""
    k, v, k_cache, v_cache, slots = arguments
    wrong = 0
    expected = [torch.full(cache.shape, NAN).to(cache.dtype) for cache in (k_cache, v_cache)]
    store_kv(k, v, expected[0], expected[1], slots, **options)
    for cache, right in zip((k_cache, v_cache), expected, strict=True):
        wrong += int((bits(cache).flatten(0, 1)[slots] != bits(right).flatten(0, 1)[slots]).sum())
        free = torch.ones(cache.shape[0] * cache.shape[1], dtype=torch.bool)
        free[owned] = False
        wrong += int((~cache.float().flatten(0, 1)[free].isnan()).sum())
    return check("cache", wrong)


def kernels_of(spec: ModelSpec, machine: Machine, function: Mapping[str, Stage] | None = None) -> dict[str, Stage]:
    """The functions that the selection chooses for each op, the cache's store beside attention.

    Args:
        function: stand-ins by stage name, for what the selection would load.
    """
    chosen: dict[str, Stage] = {}
    for problem in problems(spec, 1, machine):
        if problem.op in chosen or problem.op not in KERNEL_STAGES:
            continue
        kernel = select(problem, machine.target, candidates(machine.target)).chosen
        chosen[problem.op] = on_device(kernel.load(), machine.device)
        if problem.op == "attention":
            module = importlib.import_module(kernel.entry.partition(":")[0])
            chosen["store_kv"] = on_device(module.store_kv, machine.device)
    return {**chosen, **(function or {})}


def on_device(function: Stage, device: torch.device) -> Stage:
    """The function with its tensors moved to a card and its results back; as it is on a CPU."""
    if device.type == "cpu":
        return function

    def moved(*arguments: Any, **options: Any) -> Any:
        there = [x.to(device) if isinstance(x, Tensor) else x for x in arguments]
        named = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in options.items()}
        result = function(*there, **named)
        for before, after in zip(arguments, there, strict=True):  # what was written in place comes back as well
            if isinstance(before, Tensor) and before.dim() == 4:
                before.copy_(after.cpu())
        if isinstance(result, tuple):
            return tuple(x.cpu() for x in result)
        return result.cpu() if isinstance(result, Tensor) else result

    return moved


def block_cases(
    spec: ModelSpec,
    machine: Machine,
    tokens: Tensor,
    *,
    function: Mapping[str, Stage] | None = None,
    precisions: Sequence[str] = PRECISIONS,
) -> Iterator[Case]:
    """Every stage of the first dense layer, the first MoE layer and the MTP layer, in each precision.

    Args:
        tokens: `[T]` of a text; its hidden states are the layers' inputs.
        function: stand-ins for kernels or stages, by stage name.
        precisions: some of `PRECISIONS`.
    """
    kernels = kernels_of(spec, machine, function)
    for precision in precisions:
        for name, x, embedded, weights in layers_of(spec, tokens[: sum(CALLS)]):
            yield from hold_layer(spec, machine, kernels, precision, name, x, embedded, weights)


def layers_of(
    spec: ModelSpec, tokens: Tensor
) -> Iterator[tuple[str, Tensor, Tensor | None, BlockWeights | MtpWeights]]:
    """(name, input, embedding of the next tokens, weights) of each kind of layer; one layer is held at a time."""
    tensors = tensors_of(spec)
    chain = Chain(stages_of({}), spec, torch.float32)
    x = tensors["model.embed_tokens.weight"][tokens].float()
    following = torch.cat([x[1:], x[:1]])
    for index in range(min(spec.first_dense + 1, spec.layers)):
        weights = load_block(tensors, index, spec)
        if index in (0, spec.first_dense):
            kind = "dense" if index < spec.first_dense else "MoE"
            yield f"layer {index} ({kind})", x, None, weights
        batch, cos_sin = growing(len(tokens), spec)[0], cos_sin_table(len(tokens), spec.rotary_dim, spec.rope_theta)
        x = chain.layer(x, weights, empty_cache(len(tokens), spec, torch.float32), batch, cos_sin)
    if spec.mtp_layers:
        yield "MTP layer", x, following, load_mtp(tensors, spec)


def hold_layer(
    spec: ModelSpec,
    machine: Machine,
    kernels: Mapping[str, Stage],
    precision: str,
    name: str,
    x: Tensor,
    embedded: Tensor | None,
    weights: BlockWeights | MtpWeights,
) -> Iterator[Case]:
    """One layer in one precision: a case for each stage, in their order, and one for what they add up to."""
    dtype = torch.bfloat16
    own_fp8 = spec.quantization.scheme != "none"
    fp8 = own_fp8 or precision != "bfloat16"
    prepared = quantized(weights, machine.fp8) if fp8 else for_target(weights, machine.fp8)
    cache_dtype = machine.fp8 if "cache" in precision else dtype
    watch = Watch(dtype, fp8, cache_dtype in FORMATS, stages_of({}))
    begun = time.monotonic()
    error, carried = "", []
    outputs: list[Tensor] = []
    right = Watch(torch.float32, fp8, cache_dtype in FORMATS, stages_of({}))
    exact: list[Tensor] = []
    try:
        chain = Chain(stages_of(kernels), spec, dtype, watch)
        outputs = run_layer(chain, prepared, x.to(dtype), embedded, cache_dtype)
        exact = run_layer(
            Chain(stages_of({}), spec, torch.float32, right), prepared, x.to(dtype).float(), embedded, cache_dtype
        )
        carried = carried_checks(outputs, exact, watch.ids, right.ids, "float8" if fp8 else "bfloat16")
    except Exception as raised:
        error = f"{type(raised).__name__}: {' '.join(str(raised).split())[:300]}"
    took = round(time.monotonic() - begun, 3)
    described = f"{name}, {precision}"
    for stage in STAGES:
        if stage in watch.found:
            checks = tuple(watch.found[stage].values())
            yield Case("block", stage, machine.name, precision, name, sum(CALLS), checks, evidence=machine.evidence)
    yield Case(
        "block", LAYER, machine.name, precision, name, sum(CALLS), tuple(carried),
        evidence=machine.evidence, seconds=took, error=f"{described}: {error}" if error else "",
    )  # fmt: skip


def run_layer(
    chain: Chain, weights: BlockWeights | MtpWeights, x: Tensor, embedded: Tensor | None, cache_dtype: torch.dtype
) -> list[Tensor]:
    """The calls of a growing sequence through a layer; the cache lives through them."""
    spec = chain.spec
    cache = empty_cache(len(x), spec, cache_dtype)
    cos_sin = cos_sin_table(len(x), spec.rotary_dim, spec.rope_theta)
    outputs, begin = [], 0
    for batch in growing(len(x), spec, CALLS):
        rows = slice(begin, begin + len(batch.positions))
        begin = rows.stop
        if isinstance(weights, MtpWeights):
            assert embedded is not None
            outputs.append(chain.mtp(embedded[rows], x[rows], weights, cache, batch, cos_sin))
        else:
            outputs.append(chain.layer(x[rows], weights, cache, batch, cos_sin))
    return outputs


def carried_checks(
    outputs: Sequence[Tensor], exact: Sequence[Tensor], ids: Sequence[Tensor], right: Sequence[Tensor], kind: str
) -> list[Check]:
    """The layer's error, over the tokens that both chains route alike: a near tie may fall either way."""
    found, want = torch.cat(list(outputs)), torch.cat(list(exact))
    alike = torch.ones(len(found), dtype=torch.bool)
    if ids:
        alike = (torch.cat(list(ids)).sort(-1).values == torch.cat(list(right)).sort(-1).values).all(-1)
    diff = calc_diff(found, want)
    where, largest = worst(torch.where(alike, diff, torch.zeros_like(diff)))
    other = int((~alike).sum())
    note = f", {other} routed otherwise left out" if other else ""
    return [check(f"carried.{kind}", largest, where=where + note)]


def growing(tokens: int, spec: ModelSpec, calls: Sequence[int] | None = None) -> list[Batch]:
    """One sequence in calls of so many rows (all at once by default), its pages in falling order."""
    pages = -(-tokens // PAGE)
    table = torch.arange(pages - 1, -1, -1, dtype=torch.int32)[None]
    batches, begin = [], 0
    for rows in calls or (tokens,):
        positions = torch.arange(begin, begin + rows)
        begin += rows
        batches.append(
            Batch(
                positions=positions,
                block_table=table,
                query_start=torch.tensor([0, rows], dtype=torch.int32),
                context_len=torch.tensor([begin], dtype=torch.int32),
                slots=table[0, positions // PAGE].long() * PAGE + positions % PAGE,
            )
        )
    return batches


def empty_cache(tokens: int, spec: ModelSpec, dtype: torch.dtype) -> Cache:
    """Room for a sequence of `tokens`."""
    return empty_pages(-(-tokens // PAGE), spec, dtype)


def empty_pages(
    pages: int, spec: ModelSpec, dtype: torch.dtype, scales: tuple[float, float] = (K_SCALE, V_SCALE)
) -> Cache:
    """Pages full of NaN; `scales` are those of an FP8 cache in fn, doubled for fnuz, whose codes are worth half."""
    shape = (pages, PAGE, spec.kv_heads, spec.head_dim)
    k, v = (torch.full(shape, NAN).to(dtype) for _ in range(2))
    if dtype not in FORMATS:
        return Cache(k, v)
    factor = 2.0 if dtype == E4M3FNUZ.dtype else 1.0
    return Cache(k, v, scales[0] * factor, scales[1] * factor)
