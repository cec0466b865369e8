"""A decoder layer as a chain of named stages, each of which can be a kernel or the reference.

The chain is that of `glm_rocm.reference.block`; with the reference's stages it gives the reference's numbers
(tests/validate hold it to that). Between stages stands what an engine keeps there: tensors of the activations' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from glm_rocm.model.spec import ModelSpec
from glm_rocm.reference.attention import store_kv
from glm_rocm.reference.block import Batch, Cache
from glm_rocm.reference.linear import fake_quantize
from glm_rocm.reference.linear import linear as reference_linear
from glm_rocm.reference.moe import route
from glm_rocm.reference.norm_rope import norm_rope, rms_norm
from glm_rocm.reference.weights import (
    AttentionWeights,
    BlockWeights,
    MlpWeights,
    MoeWeights,
    MtpWeights,
    Projection,
)
from glm_rocm.validate import oracle

Stage = Callable[..., Any]
Tap = Callable[[str, Stage, tuple[Any, ...], dict[str, Any], Any], None]
"""Told of every stage: its name, the function that ran, arguments, options, result."""

STAGES = (
    "embed_norm",
    "hidden_norm",
    "combine",
    "input_norm",
    "qkv",
    "norm_rope",
    "store_kv",
    "attention",
    "o_proj",
    "attention_sum",
    "post_norm",
    "router",
    "moe.route",
    "moe.experts",
    "shared",
    "mlp",
    "layer_sum",
    "final_norm",
    "head",
)
"""In the order of a layer; the first three and the last two belong to the MTP layer and the model's end."""


KEEPS_FP32 = ("router", "moe.route", "head")
"""Stages whose results stay in fp32 in every engine."""


@dataclass(frozen=True)
class Chain:
    """Stages and how they are strung together.

    Attributes:
        stages: the function of each name of `STAGES`.
        spec: the model.
        dtype: of activations between stages; fp32 makes a reference chain.
        tap: told of each stage as it has run.
    """

    stages: Mapping[str, Stage]
    spec: ModelSpec
    dtype: torch.dtype
    tap: Tap | None = None

    def run(self, name: str, *arguments: Any, **options: Any) -> Any:
        """One stage; its result in the activations' dtype."""
        stage = self.stages[name]
        result = stage(*arguments, **options)
        if name not in KEEPS_FP32:
            result = kept(result, self.dtype)
        if self.tap is not None:
            self.tap(name, stage, arguments, options, result)
        return result

    def layer(self, x: Tensor, weights: BlockWeights, cache: Cache, batch: Batch, cos_sin: Tensor) -> Tensor:
        """`x [T, H]` through a decoder layer; the cache takes the new keys and values."""
        normed = self.run("input_norm", x, weights.input_norm, self.spec.rms_eps)
        x = self.run("attention_sum", x, self.self_attention(normed, weights.attention, cache, batch, cos_sin))
        normed = self.run("post_norm", x, weights.post_norm, self.spec.rms_eps)
        return self.feed_forward(x, normed, weights.mlp)

    def self_attention(
        self, x: Tensor, weights: AttentionWeights, cache: Cache, batch: Batch, cos_sin: Tensor
    ) -> Tensor:
        """Projections, norm and rope, store, attention, output projection."""
        spec, tokens = self.spec, x.shape[0]
        q, k, v = self.run("qkv", x, weights)
        q = q.view(tokens, spec.heads, spec.head_dim)
        k, v = (part.view(tokens, spec.kv_heads, spec.head_dim) for part in (k, v))
        norms = {"q_weight": weights.q_norm, "k_weight": weights.k_norm, "eps": spec.rms_eps}
        q, k = self.run("norm_rope", q, k, batch.positions, cos_sin, **norms)
        scales = {"k_scale": cache.k_scale, "v_scale": cache.v_scale}
        self.run("store_kv", k, v, cache.k, cache.v, batch.slots, **scales)
        places = (batch.block_table, batch.query_start, batch.context_len)
        attended = self.run("attention", q, cache.k, cache.v, *places, scale=spec.head_dim**-0.5, **scales)
        return self.run("o_proj", attended.flatten(1), weights.o)  # type: ignore[no-any-return]

    def feed_forward(self, x: Tensor, normed: Tensor, weights: MlpWeights | MoeWeights) -> Tensor:
        """The dense MLP, or routed experts and the shared one, added to the residual stream `x`."""
        if isinstance(weights, MlpWeights):
            return self.run("layer_sum", x, self.run("mlp", normed, weights))  # type: ignore[no-any-return]
        spec = self.spec
        ids, gates = self.run(
            "moe.route",
            self.run("router", normed, weights.router),
            weights.bias,
            top_k=spec.top_k,
            n_group=spec.n_group,
            topk_group=spec.topk_group,
            normalize=spec.norm_topk,
            scale=spec.routed_scale,
        )
        parts = [
            self.run(
                "moe.experts",
                normed,
                weights.w13.weight,
                weights.w2.weight,
                ids,
                gates,
                w13_scale=weights.w13.scale,
                w2_scale=weights.w2.scale,
                quant=weights.w13.quant,
            )
        ]
        if weights.shared is not None:
            parts.append(self.run("shared", normed, weights.shared))
        return self.run("layer_sum", x, *parts)  # type: ignore[no-any-return]

    def mtp(
        self, embedded: Tensor, hidden: Tensor, weights: MtpWeights, cache: Cache, batch: Batch, cos_sin: Tensor
    ) -> Tensor:
        """Logits of the token after the next one, `[T, vocab]`; arguments as `glm_rocm.reference.mtp.mtp`."""
        embedded = torch.where(batch.positions[:, None] == 0, 0.0, embedded.float()).to(self.dtype)
        eps = self.spec.rms_eps
        joined = torch.cat(
            [
                self.run("embed_norm", embedded, weights.embed_norm, eps),
                self.run("hidden_norm", hidden, weights.hidden_norm, eps),
            ],
            -1,
        )
        deeper = self.layer(self.run("combine", joined, weights.combine), weights.block, cache, batch, cos_sin)
        return self.end(deeper, weights.norm, weights.head)

    def end(self, x: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        """Final norm and head, `[T, vocab]` fp32."""
        return self.run("head", self.run("final_norm", x, norm, self.spec.rms_eps), head)  # type: ignore[no-any-return]


def kept(result: Any, dtype: torch.dtype) -> Any:
    """A stage's floating-point results in the activations' dtype."""
    if isinstance(result, tuple):
        return tuple(kept(part, dtype) for part in result)
    return result.to(dtype) if isinstance(result, Tensor) and result.is_floating_point() else result


def stages_of(kernels: Mapping[str, Stage], *, fake: torch.dtype | None = None) -> dict[str, Stage]:
    """Every stage: those of `kernels` (`linear`, `norm_rope`, `store_kv`, `attention`, `moe.route`, `moe.experts`) by
    them, the others, which an engine computes itself, as the reference does.

    Args:
        fake: round what goes into each plain product to this FP8 format and back: activation FP8 alone.
    """
    linear = kernels.get("linear", reference_linear)
    own = {name: function for name, function in kernels.items() if name in STAGES}
    if fake is not None:
        own["moe.experts"] = partial(oracle.experts, mlp=partial(_rounded_swiglu, fake))

    def projection(x: Tensor, weights: Projection) -> Tensor:
        if fake is not None:
            x = fake_quantize(x, fake, "channel_token").to(x.dtype)
        # FP8 products are the kernels'; a plain one is the engine's own matrix product.
        product = linear if weights.quant != "none" else reference_linear
        return product(
            x, weights.weight, w_scale=weights.scale, bias=weights.bias, quant=weights.quant, out_dtype=x.dtype
        )

    def qkv(x: Tensor, weights: AttentionWeights) -> tuple[Tensor, ...]:
        return projection(x, weights.q), projection(x, weights.k), projection(x, weights.v)

    def mlp(x: Tensor, weights: MlpWeights) -> Tensor:
        gate, up = (projection(x, part) for part in halves(weights.w13))
        return projection((torch.nn.functional.silu(gate.float()) * up.float()).to(x.dtype), weights.w2)

    return {
        "embed_norm": rms_norm,
        "hidden_norm": rms_norm,
        "combine": projection,
        "input_norm": rms_norm,
        "qkv": qkv,
        "norm_rope": norm_rope,
        "store_kv": store_kv,
        "attention": oracle.attention,
        "o_proj": projection,
        "attention_sum": torch.add,
        "post_norm": rms_norm,
        "router": _product,
        "moe.route": route,
        "moe.experts": oracle.experts,
        "shared": mlp,
        "mlp": mlp,
        "layer_sum": lambda x, *parts: sum(parts, x),
        "final_norm": rms_norm,
        "head": _product,
        **own,
    }


def halves(w13: Projection) -> tuple[Projection, Projection]:
    """Gate and up of a joined weight, each with its own scales."""
    scales = (None, None) if w13.scale is None else w13.scale.chunk(2, 0)
    gate, up = w13.weight.chunk(2, 0)
    return Projection(gate, scales[0], None, w13.quant), Projection(up, scales[1], None, w13.quant)


def _rounded_swiglu(fp8: torch.dtype, x: Tensor, w13: Tensor, w2: Tensor, **scales: Any) -> Tensor:
    """One expert of plain weights whose activations are rounded to FP8 before either product."""
    gate, up = (fake_quantize(x, fp8, "channel_token") @ w13.float().T).chunk(2, -1)
    hidden = torch.nn.functional.silu(gate) * up
    return fake_quantize(hidden, fp8, "channel_token") @ w2.float().T


def _product(x: Tensor, weight: Tensor) -> Tensor:
    return x.float() @ weight.float().T
