"""The Plan: model, target, engine, parallelism, precision, memory and one kernel per problem, each with its reasons.

A Plan is made once, printed, and carried to the engine's processes as a JSON file; nothing decides again after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glm_rocm import backends
from glm_rocm.backends.emulation import INTERPRET, emulated_target
from glm_rocm.errors import GlmRocmError, PlanError, UsageError
from glm_rocm.model import KNOWN, load_spec
from glm_rocm.model.spec import BLOCK, ModelSpec
from glm_rocm.ops.kernel import Kernel, Problem
from glm_rocm.ops.select import Probe, Selection, select
from glm_rocm.plan import records
from glm_rocm.plan.disaggregation import Disaggregation, check_engine
from glm_rocm.plan.memory import MEMORY_FRACTION, MemoryFit
from glm_rocm.plan.placement import Wishes, place
from glm_rocm.plan.problems import OPS, PROBLEMS, AnyProblem, problems_of
from glm_rocm.target import Target

PLAN_VERSION = 3
DTYPES = ("bfloat16", "float16", "float32")
FP8_WORDS = ("auto", "on", "off")
KV_WORDS = ("auto", "fp8")
TAKES_SHORT_BLOCKS = ("transformers",)
"""Engines that run FP8 blocks of fewer than 128 rows or columns at a matrix's edge."""
TAKES_BLOCKS_IN_FLOAT32 = ("transformers",)
"""Engines that run FP8 blocks with fp32 activations; vLLM's block FP8 wants bf16 or fp16 (0.32)."""


@dataclass(frozen=True)
class Plan:
    """How a model is served on a target.

    Attributes:
        engine: the serving engine's word (`vllm`, `transformers`).
        tp: tensor-parallel ranks, one device each.
        precision: `bfloat16`, `float16` or `float32`, or the FP8 scheme of the weights (`fp8_channel_token`,
            `fp8_block`).
        dtype: of activations and of what is not FP8.
        kv_dtype: of the KV cache.
        mtp: draft tokens per step from the MTP layer; 0: off.
        context: tokens of one request, its answer included.
        max_seqs: requests in flight at most.
        memory_fraction: share of each device that the engine may take.
        selections: one per op and per-rank problem that the engine hands to our kernels.
        notes: sentences for the reader.
        emulate: `gfx942`, `gfx950` or `interpret`: the kernels are those of a card that is not here, run by the
            emulator or by Triton's interpreter on `target`, a CPU; empty: `target` runs them itself.
        disaggregation: prefill and decode on servers of their own, each with `tp` ranks; None: one server does both.
    """

    model: ModelSpec
    target: Target
    engine: str
    tp: int
    precision: str
    dtype: str
    kv_dtype: str
    mtp: int
    context: int
    max_seqs: int
    memory_fraction: float
    fit: MemoryFit
    selections: tuple[Selection, ...]
    notes: tuple[str, ...]
    emulate: str = ""
    disaggregation: Disaggregation | None = None

    @property
    def devices(self) -> int:
        """How many devices all servers take together; a CPU is shared."""
        if self.disaggregation is None or self.target.vendor == "cpu":
            return self.tp
        return self.tp * self.disaggregation.servers

    @property
    def kernel_target(self) -> Target:
        """The target whose kernels were chosen: the emulated card, or the target itself."""
        return emulated_target(self.emulate) if self.emulate else self.target

    @property
    def cpu_offload_gib(self) -> int:
        """GiB of weights per device in host memory; 0 where it fits without."""
        return self.fit.offload >> 30

    @property
    def kv_bytes(self) -> int:
        """KV cache of one rank that holds every request in flight at full context, or all that there is room for."""
        return self.fit.kv_per_token * min(self.fit.kv_tokens, self.context * self.max_seqs)

    def chosen(self, op: str, **shape: object) -> str:
        """The name of the kernel for `op`, at the problem whose attributes equal `shape` where several differ.

        Raises:
            PlanError: no such problem in the plan, or several with different kernels.
        """
        names = {
            selection.chosen.name
            for selection in self.selections
            if selection.problem.op == op
            and all(getattr(selection.problem, key, None) == value for key, value in shape.items())
        }
        if len(names) != 1:
            at = "".join(f", {key} {value}" for key, value in shape.items())
            raise PlanError(
                f"the plan has {len(names)} kernels for `{op}`{at}",
                required="one",
                hint="make a new plan with `glm-rocm plan MODEL`",
            )
        return names.pop()

    def to_json(self) -> str:
        """The plan as JSON text, from which `from_json` makes an equal plan."""
        content = records.encode(self, _CODECS)
        return json.dumps({"glm_rocm_plan": PLAN_VERSION, **content}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            PlanError: not JSON, not a plan, a plan of another version, or one that names a kernel unknown here.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise _not_a_plan(f"the plan is not JSON: {error}") from error
        if not isinstance(content, dict) or "glm_rocm_plan" not in content:
            raise _not_a_plan("the JSON is not a plan")
        version = content.pop("glm_rocm_plan")
        if version != PLAN_VERSION:
            raise PlanError(
                f"a plan of version `{version}`",
                required=f"version {PLAN_VERSION}, that of this glm-rocm",
                hint="make it again with `glm-rocm plan MODEL --json`",
            )
        try:
            return records.decode(cls, content, _CODECS, where="plan")
        except records.RecordError as error:
            raise _not_a_plan(f"the plan is damaged: {error}") from error


def _read_problem(value: Any, where: str) -> AnyProblem:
    kind = PROBLEMS.get(str(value.get("op"))) if isinstance(value, dict) else None
    if kind is None:
        raise records.RecordError(f"{where} is {value!r}, required a problem of {', '.join(PROBLEMS)}")
    return records.decode(kind, {key: item for key, item in value.items() if key != "op"}, where=where)


def _read_kernel(value: Any, where: str) -> Kernel:
    try:
        return backends.by_name(str(value))
    except GlmRocmError as error:
        raise PlanError(
            f"the plan names kernel `{value}`, which this glm-rocm does not have",
            required="a plan made by the version that serves it",
            hint="make it again with `glm-rocm plan MODEL --json`",
        ) from error


_CODECS = {
    Problem: records.Codec(lambda problem: {"op": problem.op, **records.encode(problem)}, _read_problem),
    Kernel: records.Codec(lambda kernel: kernel.name, _read_kernel),
}


def _not_a_plan(found: str) -> PlanError:
    return PlanError(found, required="the JSON of a plan", hint="make one with `glm-rocm plan MODEL --json`")


def make_plan(
    model: str | ModelSpec,
    target: Target,
    *,
    engine: str,
    tp: int | None = None,
    mtp: int = 0,
    fp8: str = "auto",
    context: int | None = None,
    max_seqs: int | None = None,
    dtype: str = "auto",
    kv_cache: str = "auto",
    block_size: int | None = None,
    memory_fraction: float = MEMORY_FRACTION,
    offload: bool = True,
    kernels: Mapping[str, str] | None = None,
    ops: Collection[str] | None = None,
    notes: Sequence[str] = (),
    emulate: str = "",
    disaggregation: Disaggregation | None = None,
    probe: Probe | None = None,
) -> Plan:
    """Decide everything that serving `model` on `target` needs, or say why it cannot be.

    Args:
        model: what `load_spec` takes, or a spec.
        engine: the serving engine's word.
        tp: ranks; None: as many as the devices and the model's shapes allow.
        mtp: draft tokens per step, 0 to 8.
        fp8: `auto`: as the checkpoint is; `on`, `off`: it must be, must not be FP8.
        context: tokens per request; None: the model's own, or as many as the memory allows.
        max_seqs: requests in flight, each of which must then fit at full context; None: 256 (16 on a CPU), of which one
            must.
        dtype: `auto` (the checkpoint's), `bfloat16`, `float16` or `float32`.
        kv_cache: `auto` (as dtype) or `fp8`.
        block_size: tokens per cache page; None: 16 on a GPU, 128 on a CPU, as vLLM has it.
        offload: weights may move to host memory where nothing else makes them fit.
        kernels: op to kernel name, from `--kernel op=name`.
        ops: the ops that the engine hands to our kernels; None: all. The rest stays with the engine and is not planned.
        notes: sentences to put before the plan's own.
        emulate: see `Plan.emulate`.
        disaggregation: see `Plan.disaggregation`.
        probe: see `select`; None: the declarations alone decide.

    Raises:
        CheckpointError: the model cannot be read or is not a GLM-4.5 to 4.7.
        PlanError: model, target and flags do not go together.
        SelectionError, UsageError: a kernel asked for is unknown or does not run the problem; a word means nothing.
    """
    spec = load_spec(model) if isinstance(model, str) else model
    _check_words(fp8, dtype, kv_cache)
    _check_emulation(emulate, target)
    card = emulated_target(emulate) if emulate else target
    _check_precision(spec, card, fp8)
    compute = spec.dtype if dtype == "auto" else dtype
    cache = compute if kv_cache == "auto" else (card.fp8_dtype or "float8_e4m3fn")
    share = target
    if disaggregation:
        check_engine(engine)
        share = disaggregation.share(target)
    placed = place(spec, share, Wishes(tp, context, max_seqs, mtp, compute, cache, memory_fraction, offload))
    _check_blocks(spec, engine, placed.tp, compute)
    pages = block_size or (128 if card.vendor == "cpu" else 16)
    wanted = OPS if ops is None else tuple(ops)
    asked = dict(kernels or {})
    _check_ops(asked, wanted)
    selections = tuple(
        select(problem, card, backends.candidates(card), asked=asked.get(problem.op), probe=probe)
        for problem in problems_of(spec, placed.tp, dtype=compute, kv_dtype=cache, block_size=pages)
        if problem.op in wanted
    )
    scheme = spec.quantization.scheme
    return Plan(
        model=spec,
        target=target,
        engine=engine,
        tp=placed.tp,
        precision=compute if scheme == "none" else scheme,
        dtype=compute,
        kv_dtype=cache,
        mtp=mtp,
        context=placed.context,
        max_seqs=placed.max_seqs,
        memory_fraction=memory_fraction,
        fit=placed.fit,
        selections=selections,
        notes=(*notes, *placed.notes, *_emulation_notes(emulate), *_notes(spec, card, selections)),
        emulate=emulate,
        disaggregation=disaggregation,
    )


def _check_words(fp8: str, dtype: str, kv_cache: str) -> None:
    for flag, word, allowed in (
        ("--fp8", fp8, FP8_WORDS),
        ("--dtype", dtype, ("auto", *DTYPES)),
        ("--kv-dtype", kv_cache, KV_WORDS),
    ):
        if word not in allowed:
            raise UsageError(
                f"`{flag} {word}`",
                required="one of " + ", ".join(f"`{item}`" for item in allowed),
                hint=f"`{flag} auto`",
            )


def _check_emulation(emulate: str, target: Target) -> None:
    if emulate and target.vendor != "cpu":
        raise UsageError(
            f"`--emulate {emulate}` on {target.describe()}",
            required="a CPU, which stands in for the card",
            hint=f"`--target cpu --emulate {emulate}`, or drop `--emulate`",
        )


def _emulation_notes(emulate: str) -> tuple[str, ...]:
    if not emulate:
        return ()
    how = "by Triton's interpreter" if emulate == INTERPRET else f"as {emulate} machine code, in the emulator"
    return (f"our kernels run {how}: right or wrong as on the card, and slow; all else is the engine's own CPU code",)


def _check_precision(spec: ModelSpec, target: Target, fp8: str) -> None:
    """Refuse an FP8 checkpoint where it cannot run or was not wanted, and a plain one where FP8 was."""
    is_fp8 = spec.quantization.scheme != "none"
    plain = spec.name.removesuffix("-FP8") if spec.name.removesuffix("-FP8") in KNOWN else "the BF16 checkpoint"
    if is_fp8 and target.fp8_dtype is None:
        raise PlanError(
            f"`{spec.name}` is FP8 and {target.name} ({target.arch}) multiplies no FP8",
            required="a card with FP8 maths, or BF16 weights",
            hint=f"serve `{plain}`",
        )
    if is_fp8 and fp8 == "off":
        raise PlanError(
            f"`--fp8 off`, and `{spec.name}` is stored in FP8", required="BF16 weights", hint=f"serve `{plain}`"
        )
    if not is_fp8 and fp8 == "on":
        known = spec.name + "-FP8" if spec.name + "-FP8" in KNOWN else ""
        raise PlanError(
            f"`--fp8 on`, and `{spec.name}` is stored in {spec.dtype}",
            required="an FP8 checkpoint",
            hint=(f"serve `{known}`, or " if known else "") + "make one with `glm-rocm quantize MODEL OUTPUT`",
        )


def _check_blocks(spec: ModelSpec, engine: str, tp: int, dtype: str) -> None:
    """Refuse 128 x 128 blocks, short at an edge or beside fp32, where the engine would after loading for a while."""
    if spec.quantization.scheme == "fp8_block" and dtype == "float32" and engine not in TAKES_BLOCKS_IN_FLOAT32:
        raise PlanError(
            f"`--dtype float32` with the FP8 blocks of `{spec.name}`",
            required=f"bfloat16 or float16, since {engine} runs FP8 blocks beside no others",
            hint="`--dtype bfloat16`",
        )
    reason = spec.cut_block(tp)
    if reason is not None and engine not in TAKES_SHORT_BLOCKS:
        raise PlanError(
            f"`{spec.name}` is FP8 in {BLOCK} x {BLOCK} blocks, and {reason}",
            required=f"whole blocks, since {engine} loads no others",
            hint="make FP8 per channel and token instead: `glm-rocm quantize MODEL OUTPUT`",
        )


def _check_ops(asked: Mapping[str, str], wanted: Collection[str]) -> None:
    for op, name in asked.items():
        if op not in wanted:
            raise UsageError(
                f"`--kernel {op}={name}`" + (", an op that this engine keeps to itself" if op in OPS else ""),
                required="an op of " + ", ".join(f"`{item}`" for item in OPS if item in wanted),
                hint="see them with `glm-rocm backends`",
            )


def _notes(spec: ModelSpec, target: Target, selections: Sequence[Selection]) -> tuple[str, ...]:
    notes = []
    if "public evidence" in spec.source:
        notes.append(f"{spec.name}: {spec.source}; once downloaded, its config decides")
    if spec.quantization.scheme != "none" and target.fp8_dtype == "float8_e4m3fnuz":
        notes.append(f"the e4m3fn weights become e4m3fnuz on {target.arch}: same bits, scales doubled, -0 cleared")
    if target.vendor != "cpu" and any(selection.chosen.name.startswith("cpu.") for selection in selections):
        notes.append(
            f"this version has no kernels of its own for {target.arch}: the torch kernels chosen here are right on any "
            f"device, not fast; for speed on {target.arch} the engine's own kernels are the better choice today"
        )
    if target.vendor != "cpu":
        notes.append("weights and KV cache are counted exactly; activations, graphs and runtime are estimates")
    return tuple(notes)
