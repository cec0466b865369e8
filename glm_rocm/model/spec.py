"""What a GLM is, as values: its dimensions, what one rank of a tensor-parallel group holds of it, in how many bytes.

Shapes and bytes follow `Glm4MoeForCausalLM` as vLLM lays it out: heads and intermediate widths are cut by TP, a KV head
is copied where TP exceeds the KV heads, router and norms are whole on every rank, the MTP layer shares embedding and
head with the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

from glm_rocm.errors import PlanError

Scheme = Literal["none", "fp8_channel_token", "fp8_block"]
BLOCK = 128
"""Edge of the square block that shares a scale in `fp8_block`."""

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "float8_e4m3fnuz": 1}
VOCAB_UNIT = 64
LARGEST_TP = 64
SCALE_BYTES = 4
"""Engines hold weight scales in float32 whatever the checkpoint stores."""


@dataclass(frozen=True)
class Quantization:
    """How a checkpoint's linear weights are stored, read from `quantization_config` and never from a name.

    Attributes:
        scheme: `none`; `fp8_channel_token`: weights e4m3fn with one scale per output channel, activations quantised per
            token at run time; `fp8_block`: one scale per 128 x 128 block, activations per token and 128 channels.
        ignore: modules left as they were: exact names, or `re:` and a regular expression matched from the name's start
            (compressed-tensors' convention).
    """

    scheme: Scheme = "none"
    ignore: tuple[str, ...] = ()

    @cached_property
    def _rules(self) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
        names = frozenset(name for name in self.ignore if not name.startswith("re:"))
        return names, tuple(re.compile(name[3:]) for name in self.ignore if name.startswith("re:"))

    def covers(self, module: str) -> bool:
        """Whether the linear `module` (`model.layers.3.self_attn.q_proj`) is stored in FP8."""
        if self.scheme == "none":
            return False
        names, patterns = self._rules
        return module not in names and not any(pattern.match(module) for pattern in patterns)


@dataclass(frozen=True)
class RankShapes:
    """What one rank holds.

    Attributes:
        kv_copies: ranks that hold the same KV head; more than 1 where TP exceeds the KV heads.
        experts: routed experts of this rank (all of them without expert parallelism).
        moe_intermediate: columns of a routed expert on this rank: the N of the kernels.
        intermediate: columns of a dense layer's MLP; shared_intermediate: of the shared expert.
    """

    tp: int
    ep: int
    heads: int
    kv_heads: int
    kv_copies: int
    experts: int
    moe_intermediate: int
    intermediate: int
    shared_intermediate: int
    vocab: int


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of one rank's weights, scales included, by what they belong to. `mtp` is the MTP layer, whole."""

    attention: int
    dense: int
    routed_experts: int
    shared_experts: int
    router: int
    norms: int
    embedding: int
    head: int
    mtp: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, item.name) for item in fields(self))


@dataclass(frozen=True)
class ModelSpec:
    """A `glm4_moe` model. Names follow the notation of the kernels, not the config's keys.

    Attributes:
        name: hub id, or the folder's name.
        path: folder of the checkpoint; None for a hub id and for a model known by name alone.
        source: where these numbers come from, as a sentence part.
        layers: decoder layers, the MTP layer not counted; the first `first_dense` of them have a dense MLP.
        hidden, intermediate, moe_intermediate: widths of the residual stream, of a dense MLP, of one expert.
        routed_scale: factor on the routed experts' sum (`routed_scaling_factor`).
        rotary_dim: leading dimensions of a head that are rotated.
        mtp_layers: multi-token-prediction layers in the checkpoint (0 or 1).
        dtype: the checkpoint's own; what is not FP8 is stored and computed in it.
        tool_parser: `glm45` or `glm47`: the layout in which the chat template has the model write tool calls.
    """

    name: str
    path: str | None
    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    shared_experts: int
    top_k: int
    moe_intermediate: int
    intermediate: int
    first_dense: int
    n_group: int
    topk_group: int
    routed_scale: float
    norm_topk: bool
    qk_norm: bool
    attention_bias: bool
    vocab: int
    max_context: int
    mtp_layers: int
    rotary_dim: int
    rope_theta: float
    rms_eps: float
    dtype: str
    tied_embeddings: bool
    quantization: Quantization = Quantization()
    tool_parser: str = "glm45"

    @property
    def padded_vocab(self) -> int:
        """Rows of embedding and head as vLLM holds them: the vocabulary rounded up to a multiple of 64."""
        return -(-self.vocab // VOCAB_UNIT) * VOCAB_UNIT

    def refuse_tp(self, tp: int) -> str | None:
        """Why the model cannot be cut in `tp`, as a sentence; None where it can."""
        if self.heads % tp:
            return f"TP {tp} does not divide the {self.heads} query heads"
        if self.kv_heads % tp and tp % self.kv_heads:
            return f"TP {tp} neither divides the {self.kv_heads} KV heads nor is a multiple of them"
        widths = [("an expert's", self.moe_intermediate)]
        if self.first_dense:
            widths.append(("a dense MLP's", self.intermediate))
        for what, width in widths:
            if width % tp:
                return f"TP {tp} does not divide {what} {width} columns"
        if self.padded_vocab % tp:
            return f"TP {tp} does not divide the vocabulary of {self.padded_vocab}"
        if tp > 1:
            return self.cut_block(tp)
        return None

    def cut_block(self, tp: int) -> str | None:
        """Which FP8 weight's cut at `tp` leaves a block short of 128 rows, as a sentence; None where none does.

        Above TP 1 the scales of a cut block cannot be dealt out. At TP 1 it is the engine that may refuse the short
        block at a matrix's edge (vLLM 0.32, fp8_utils.py, validate_fp8_block_shape and validate_fp8_block_shape_moe).
        """
        if self.quantization.scheme != "fp8_block":
            return None
        last, first = f"model.layers.{self.layers - 1}.", "model.layers.0."
        widths = (
            ("the query heads have", last + "self_attn.q_proj", self.heads * self.head_dim // tp),
            ("the KV heads have", last + "self_attn.k_proj", max(1, self.kv_heads // tp) * self.head_dim),
            ("an expert has", last + "mlp.experts.0.up_proj", self.moe_intermediate // tp),
            (
                "the shared expert has",
                last + "mlp.shared_experts.up_proj",
                self.moe_intermediate * self.shared_experts // tp,
            ),
            ("a dense MLP has", first + "mlp.up_proj", self.intermediate // tp if self.first_dense else 0),
        )
        for what, module, width in widths:
            if width % BLOCK and self.quantization.covers(module):
                return f"at TP {tp} {what} {width} columns, not a multiple of the {BLOCK} that share an FP8 scale"
        return None

    def valid_tps(self, at_most: int) -> tuple[int, ...]:
        """Every tensor-parallel degree from 1 to `at_most` that the model can be cut in."""
        return tuple(tp for tp in range(1, at_most + 1) if self.refuse_tp(tp) is None)

    def per_rank(self, tp: int, ep: int = 1) -> RankShapes:
        """Shapes on one of `tp` ranks; with `ep` > 1 the routed experts are dealt out whole over `ep` of them.

        Raises:
            PlanError: the model cannot be cut so; names the degrees in which it can.
        """
        reason = self.refuse_tp(tp) if tp >= 1 else f"TP {tp} is not a positive number"
        if reason is None and (ep < 1 or tp % ep or self.experts % ep):
            reason = f"EP {ep} does not divide both TP {tp} and the {self.experts} experts"
        if reason is not None:
            good = ", ".join(map(str, self.valid_tps(LARGEST_TP)))
            raise PlanError(reason, required=f"a TP of {good} for `{self.name}`", hint="choose one with `--tp N`")
        return RankShapes(
            tp=tp,
            ep=ep,
            heads=self.heads // tp,
            kv_heads=max(1, self.kv_heads // tp),
            kv_copies=max(1, tp // self.kv_heads),
            experts=self.experts // ep,
            moe_intermediate=self.moe_intermediate * ep // tp,
            intermediate=self.intermediate // tp,
            shared_intermediate=self.moe_intermediate * self.shared_experts // tp,
            vocab=self.padded_vocab // tp,
        )

    def kv_bytes_per_token(self, tp: int, kv_dtype: str, *, mtp: bool = False) -> int:
        """Bytes of KV cache that one token takes on one rank, over all layers (the MTP layer's too where it runs)."""
        layers = self.layers + (self.mtp_layers if mtp else 0)
        return 2 * self.per_rank(tp).kv_heads * self.head_dim * DTYPE_BYTES[kv_dtype] * layers

    def weight_bytes(self, tp: int, ep: int = 1, *, mtp: bool = True, dtype: str | None = None) -> WeightBytes:
        """Bytes of one rank's weights.

        Args:
            mtp: the MTP layer is loaded.
            dtype: the type that what is not FP8 is held in; the checkpoint's own by default.
        """
        layout = _Layout(self, self.per_rank(tp, ep), DTYPE_BYTES[dtype or self.dtype])
        moe = range(self.first_dense, self.layers)
        beyond = range(self.layers, self.layers + (self.mtp_layers if mtp else 0))
        plain = layout.plain
        return WeightBytes(
            attention=sum(map(layout.attention, range(self.layers))),
            dense=sum(map(layout.dense, range(self.first_dense))),
            routed_experts=sum(map(layout.routed, moe)),
            shared_experts=sum(map(layout.shared, moe)),
            router=len(moe) * layout.router(),
            norms=self.layers * layout.norms() + plain * self.hidden,
            embedding=plain * layout.rank.vocab * self.hidden,
            head=0 if self.tied_embeddings else plain * layout.rank.vocab * self.hidden,
            mtp=sum(map(layout.mtp, beyond)),
        )


@dataclass(frozen=True)
class _Layout:
    """Bytes of one layer's parts on one rank; `plain` is the size of a number that is not FP8."""

    spec: ModelSpec
    rank: RankShapes
    plain: int

    def linear(self, module: str, rows: int, columns: int, matrices: int = 1) -> int:
        """`matrices` weights `[rows, columns]` of `module`, with their scales where it is FP8."""
        quantization = self.spec.quantization
        if not quantization.covers(module):
            return matrices * rows * columns * self.plain
        scales = rows if quantization.scheme == "fp8_channel_token" else -(-rows // BLOCK) * -(-columns // BLOCK)
        return matrices * (rows * columns + SCALE_BYTES * scales)

    def attention(self, layer: int) -> int:
        spec, rank, prefix = self.spec, self.rank, f"model.layers.{layer}.self_attn."
        query, key = rank.heads * spec.head_dim, rank.kv_heads * spec.head_dim
        bias = (query + 2 * key) * self.plain if spec.attention_bias else 0
        qk_norm = 2 * spec.head_dim * self.plain if spec.qk_norm else 0
        return (
            self.linear(prefix + "q_proj", query, spec.hidden)
            + self.linear(prefix + "k_proj", key, spec.hidden)
            + self.linear(prefix + "v_proj", key, spec.hidden)
            + self.linear(prefix + "o_proj", spec.hidden, query)
            + bias
            + qk_norm
        )

    def _mlp(self, prefix: str, columns: int, copies: int = 1) -> int:
        hidden = self.spec.hidden
        return (
            self.linear(prefix + "gate_proj", columns, hidden, copies)
            + self.linear(prefix + "up_proj", columns, hidden, copies)
            + self.linear(prefix + "down_proj", hidden, columns, copies)
        )

    def dense(self, layer: int) -> int:
        return self._mlp(f"model.layers.{layer}.mlp.", self.rank.intermediate)

    def routed(self, layer: int) -> int:
        # An ignore list treats a layer's experts alike (engines fuse them into one tensor), so expert 0 speaks for all.
        return self._mlp(f"model.layers.{layer}.mlp.experts.0.", self.rank.moe_intermediate, self.rank.experts)

    def shared(self, layer: int) -> int:
        return self._mlp(f"model.layers.{layer}.mlp.shared_experts.", self.rank.shared_intermediate)

    def router(self) -> int:
        """Gate and bias in float32, as transformers and vLLM hold them."""
        return 4 * self.spec.experts * (self.spec.hidden + 1)

    def norms(self) -> int:
        return 2 * self.spec.hidden * self.plain

    def mtp(self, layer: int) -> int:
        """A whole MoE layer, `eh_proj [H, 2H]` (not quantised, not cut) and three norms."""
        hidden = self.spec.hidden
        block = self.attention(layer) + self.routed(layer) + self.shared(layer) + self.router() + self.norms()
        return block + self.plain * (2 * hidden * hidden + 3 * hidden)
