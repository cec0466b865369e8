"""The rows of the bench as data: what one rank of a served GLM computes, at the sizes that decide its speed.

A case is one op at one shape. What it has to reach stands beside it where a figure was set; everywhere else it has to
stay below vLLM's figure of the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from glm_rocm.errors import UsageError
from glm_rocm.model import ModelSpec
from glm_rocm.model.known import KNOWN
from glm_rocm.model.spec import RankShapes

Op = Literal["attention", "moe", "route", "prologue"]
OPS: tuple[Op, ...] = ("attention", "moe", "route", "prologue")
PAGE = 16
"""Tokens of a cache page: vLLM's default on ROCm."""


@dataclass(frozen=True)
class Reach:
    """What a case has to reach on gfx942; 0 where nothing was set.

    Attributes:
        instructions: at most, wave-instructions of all launches.
        workgroups: at least, of the launch with the most of them.
        mfma: at least, useful over issued MFMA work.
        bytes: at most, cache or weight bytes asked for over what they are once.
        lds_reads: at most, LDS bytes read over the weight bytes.
        launches: at most.
    """

    instructions: int = 0
    workgroups: int = 0
    mfma: float = 0.0
    bytes: float = 0.0
    lds_reads: float = 0.0
    launches: int = 0


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: what `--case` takes.
        op: `attention`; `moe`: router logits to summed output; `route`: the launch that routes and aligns; `prologue`:
            bias, QK norm, rotary embedding and cache write.
        model: a name of the model list.
        tp: tensor parallelism; the case is one rank of it.
        tokens: rows of the batch: B for decode, B times the queries for MTP verify, M for the experts.
        sequences: B; 0 for ops without sequences.
        context: cached tokens of each sequence.
        table: tokens that a row of the block table has room for; 0: the context.
        fp8: attention and prologue: an FP8 cache; moe: FP8 weights per channel, activations per token.
        sample: of how many parts of a launch one runs in the emulator, see `sampling.py`; 1: all of it runs.
        quick: part of the committed baseline's test.
        peer_launches: of vLLM without AITER, where none of them is a Triton kernel that can be counted here.
    """

    name: str
    op: Op
    model: str
    tp: int
    tokens: int
    sequences: int = 0
    context: int = 0
    table: int = 0
    fp8: bool = False
    sample: int = 1
    quick: bool = False
    peer_launches: str = ""
    reach: Reach = Reach()

    @property
    def spec(self) -> ModelSpec:
        return KNOWN[self.model]

    @property
    def rank(self) -> RankShapes:
        return self.spec.per_rank(self.tp)

    @property
    def queries(self) -> int:
        """Of each sequence; `attention` only."""
        return self.tokens // self.sequences

    @property
    def experts(self) -> int:
        return self.spec.experts

    @property
    def hidden(self) -> int:
        return self.spec.hidden

    def describe(self) -> str:
        """Shape and dtype in one line."""
        kind = "FP8" if self.fp8 else "bf16"
        rank, model = self.rank, self.model.removeprefix("zai-org/")
        heads = f"{rank.heads}/{rank.kv_heads} heads"
        if self.op == "attention":
            what = f"{self.sequences} x {self.queries} queries, context {self.context}, {heads}, {kind} cache"
        elif self.op == "moe":
            what = f"M {self.tokens}, E {self.experts}, H {self.hidden}, N {rank.moe_intermediate}, {kind}"
        elif self.op == "route":
            what = f"M {self.tokens}, E {self.experts}"
        else:
            what = f"M {self.tokens}, {heads}, {kind} cache"
        return f"{model} at TP {self.tp}: {what}"


GLM, AIR = "zai-org/GLM-4.6", "zai-org/GLM-4.5-Air"
_ROUTE_PEER = "router and alignment: 8 to 9 launches of C++ and torch, none of Triton (without AITER, by its source)"
_PROLOGUE_PEER = (
    "bias, norm, rotary, cache write: 4 to 6 launches of C++, none of Triton (without AITER, by its source)"
)


def _attention(model: str, tp: int, suffix: str) -> list[Case]:
    decode = Case(f"decode{suffix}", "attention", model, tp, 1, 1, 512)
    return [
        decode,
        replace(decode, name=f"decode-fp8{suffix}", fp8=True),
        replace(decode, name=f"verify{suffix}", tokens=4),
        replace(decode, name=f"prefill{suffix}", tokens=128, context=128),
    ]


def _moe(model: str, tp: int, suffix: str) -> list[Case]:
    return [
        Case(f"moe-{kind}-m{tokens}{suffix}", "moe", model, tp, tokens, fp8=kind == "fp8")
        for kind in ("fp8", "bf16")
        for tokens in (1, 4, 16)
    ]


def _large(model: str, suffix: str) -> list[Case]:
    """Batches of 16, 128 and 512 tokens an expert, each in as many groups of tokens as the experts have groups."""
    spec = KNOWN[model]
    groups = spec.experts // spec.top_k
    return [
        Case(f"moe-{kind}-m{groups * each}{suffix}", "moe", model, 8, groups * each, fp8=kind == "fp8", sample=groups)
        for kind in ("fp8", "bf16")
        for each in (16, 128, 512)
    ]


def _small(model: str, suffix: str) -> list[Case]:
    route = Case(f"route-m1{suffix}", "route", model, 8, 1, peer_launches=_ROUTE_PEER)
    prologue = Case(f"prologue-m1{suffix}", "prologue", model, 8, 1, peer_launches=_PROLOGUE_PEER)
    return [
        route,
        *(replace(route, name=f"route-m{tokens}{suffix}", tokens=tokens) for tokens in (16, 64)),
        prologue,
        replace(prologue, name=f"prologue-m512{suffix}", tokens=512),
    ]


_WIDE = Case("decode-wide", "attention", GLM, 8, 1, 1, 512, table=131072)
_BATCH = Case("decode-batch", "attention", GLM, 8, 320, 320, 512)
_LONG = Case("prefill-512", "attention", GLM, 8, 512, 1, 512)
_REACH = {
    "decode": Reach(instructions=16_000, workgroups=16, mfma=0.70),
    "decode-fp8": Reach(instructions=17_600),
    "decode-batch": Reach(instructions=7_000 * 320, mfma=0.70),
    "verify": Reach(instructions=28_000, workgroups=16, mfma=0.90, bytes=1.05),
    "prefill": Reach(instructions=100_000, mfma=0.60, bytes=7.0),
    "moe-fp8-m1": Reach(450_000, 256, bytes=1.03, lds_reads=0.5, launches=4),
    "moe-fp8-m4": Reach(1_600_000, bytes=1.03, lds_reads=0.5, launches=4),
    "moe-fp8-m16": Reach(4_500_000, bytes=1.03, lds_reads=0.5, launches=4),
    "moe-bf16-m1": Reach(900_000, launches=4),
    "moe-bf16-m4": Reach(2_400_000, launches=4),
    "moe-bf16-m16": Reach(6_500_000, launches=4),
    "route-m1": Reach(launches=1),
    "route-m16": Reach(launches=1),
    "route-m64": Reach(launches=1),
    "prologue-m1": Reach(launches=1),
    "prologue-m512": Reach(launches=1),
}
_QUICK = ("decode", "decode-fp8", "verify", "prefill", "moe-fp8-m1", "route-m16", "prologue-m1")


def _cases() -> tuple[Case, ...]:
    rows = [*_attention(GLM, 8, ""), _WIDE, _BATCH, _LONG, *_moe(GLM, 8, ""), *_small(GLM, "")]
    rows += [*_moe(AIR, 8, "-air"), *_small(AIR, "-air")]
    rows += [*_attention(GLM, 4, "-tp4"), *_moe(GLM, 4, "-tp4"), *_moe(AIR, 4, "-air-tp4")]
    rows += _large(GLM, "")
    return tuple(replace(row, reach=_REACH.get(row.name, Reach()), quick=row.name in _QUICK) for row in rows)


CASES = _cases()
"""Attention of Air is that of GLM-4.6 at the same TP: heads, head size and pages are equal."""


def choose(ops: Sequence[str] = (), names: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of these ops and names, in the table's order; all of them by default.

    Raises:
        UsageError: an op or a name that no case has.
    """
    for flag, given, known in (("--op", ops, OPS), ("--case", names, tuple(case.name for case in CASES))):
        for word in given:
            if word not in known:
                raise UsageError(
                    f"`{flag} {word}`",
                    required="one of " + ", ".join(f"`{entry}`" for entry in known),
                    hint=f"glm-rocm bench {flag} {known[0]}",
                )
    found = tuple(case for case in CASES if (not ops or case.op in ops) and (not names or case.name in names))
    if not found:
        raise UsageError("`--op` and `--case` have no case in common", hint="drop one of the two")
    return found
