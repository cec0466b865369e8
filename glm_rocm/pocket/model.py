"""The trainable pocket GLM in plain torch: Glm4MoeForCausalLM and its MTP layer, in fp32.

Equal to transformers' `Glm4MoeForCausalLM` up to rounding (the MTP layer, which transformers leaves out, follows vLLM's
`glm4_moe_mtp`). Query, key and value projections are one matrix and the experts are stacked, which trains faster;
`export.py` takes them apart.

Notation: B rows, T tokens, H hidden, Hq query heads on one KV head, D head dim, E experts, K experts per token, N
expert width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glm_rocm.pocket.config import PocketConfig

Rotation = tuple[Tensor, Tensor]
"""cos and sin [B, T, 1, R/2] of the rotary angles."""
Seen = Tensor | list[int] | None
"""What a token attends to. None: itself and all before it; a mask [B, 1, T, T so far]; or lengths, which cut the tokens
of a single row into conversations that do not see each other."""
Cache = dict[str, tuple[Tensor, Tensor]]
"""Per attention layer: keys and values [B, 1, T so far, D]."""


def _matrix(*shape: int, scale: float) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) * scale)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate the leading R dimensions of each head in NeoX order, leave the rest; x [B, T, heads, D]."""
    cos, sin = rotation
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


def _attend_row(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention within one conversation; q [1, Hq, T, D], k and v [1, 1, T, D].

    With a single KV head the queries of all heads are one matrix, which trains faster than the fused kernel on a CPU.
    """
    _, heads, tokens, dim = q.shape
    scores = q.reshape(heads * tokens, dim) @ (k[0, 0] * dim**-0.5).mT
    future = torch.full((tokens, tokens), float("-inf")).triu(1)
    weights = torch.softmax(scores.view(heads, tokens, tokens) + future, -1)
    return (weights.view(heads * tokens, tokens) @ v[0, 0]).view(1, heads, tokens, dim)


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Seen) -> Tensor:
    """Scaled dot product attention on one KV head; q [B, Hq, T, D], k and v [B, 1, T so far, D]."""
    if isinstance(seen, list):
        parts = zip(torch.split(q, seen, 2), torch.split(k, seen, 2), torch.split(v, seen, 2), strict=True)
        return torch.cat([_attend_row(*part) for part in parts], 2)
    k, v = (x.expand(-1, q.shape[1], -1, -1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None)


class Attention(nn.Module):
    """Grouped-query attention with QK-norm before the rotation; biases on q, k and v, none on the output."""

    def __init__(self, config: PocketConfig, name: str) -> None:
        super().__init__()
        self.config, self.name = config, name
        width = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
        inner = config.num_heads * config.head_dim
        self.qkv = _matrix(width, config.hidden_size, scale=config.hidden_size**-0.5)
        self.qkv_bias = nn.Parameter(torch.zeros(width))
        self.out = _matrix(config.hidden_size, inner, scale=inner**-0.5 / math.sqrt(2 * config.num_layers))
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(self, x: Tensor, rotation: Rotation, seen: Seen, cache: Cache | None) -> Tensor:
        """x [B, T, H] -> [B, T, H]."""
        config = self.config
        rows, tokens, _ = x.shape
        heads, kv, dim = config.num_heads, config.num_kv_heads, config.head_dim
        qkv = F.linear(x, self.qkv, self.qkv_bias).view(rows, tokens, heads + 2 * kv, dim)
        q, k, v = torch.split(qkv, [heads, kv, kv], 2)
        q = rotate(self.q_norm(q), rotation).transpose(1, 2)  # [B, Hq, T, D]
        k = rotate(self.k_norm(k), rotation).transpose(1, 2)  # [B, 1, T, D]
        v = v.transpose(1, 2)
        if cache is not None:
            if self.name in cache:
                k = torch.cat([cache[self.name][0], k], 2)
                v = torch.cat([cache[self.name][1], v], 2)
            cache[self.name] = (k, v)
        mixed = attend(q, k, v, seen)
        return F.linear(mixed.transpose(1, 2).reshape(rows, tokens, heads * dim), self.out)


def swiglu(x: Tensor) -> Tensor:
    """silu(gate) * up of [..., 2N], gate first."""
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


class Dense(nn.Module):
    """A SwiGLU MLP."""

    def __init__(self, config: PocketConfig, size: int) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.gate_up = _matrix(2 * size, hidden, scale=hidden**-0.5)
        self.down = _matrix(hidden, size, scale=size**-0.5 / math.sqrt(2 * config.num_layers))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(swiglu(F.linear(x, self.gate_up)), self.down)


class Experts(nn.Module):
    """Routed experts beside a shared one.

    The router scores by sigmoid, chooses by score + `bias`, weighs by the score alone, normalised over the chosen and
    scaled once. `bias` is no parameter: the trainer moves it to even out `load`, the tokens counted per expert.
    """

    bias: Tensor
    load: Tensor

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        self.config = config
        count, size, hidden = config.num_experts, config.expert_size, config.hidden_size
        self.router = _matrix(count, hidden, scale=0.02)
        self.register_buffer("bias", torch.zeros(count))
        self.register_buffer("load", torch.zeros(count), persistent=False)
        self.gate_up = _matrix(count, 2 * size, hidden, scale=hidden**-0.5)
        scale = size**-0.5 / math.sqrt(2 * config.num_layers) / config.routed_scale
        self.down = _matrix(count, hidden, size, scale=scale)
        self.shared = Dense(config, size)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [T, H] -> ids [T, K] int64, weights [T, K]."""
        scores = torch.sigmoid(F.linear(x, self.router))  # [T, E]
        ids = torch.topk(scores + self.bias, self.config.experts_per_token, -1, sorted=False).indices
        weights = scores.gather(1, ids)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * self.config.routed_scale
        return ids, weights

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])  # [T, H]
        ids, weights = self.route(flat)
        order = torch.argsort(ids.reshape(-1), stable=True)
        counts = torch.bincount(ids.reshape(-1), minlength=self.config.num_experts)
        if self.training:
            self.load += counts
        token = order // self.config.experts_per_token
        gate_up, down = self.gate_up.unbind(0), self.down.unbind(0)
        parts = [
            F.linear(swiglu(F.linear(part, gate_up[expert])), down[expert])
            for expert, part in enumerate(torch.split(flat.index_select(0, token), counts.tolist()))
            if part.shape[0]
        ]
        routed = torch.cat(parts) * weights.reshape(-1)[order].unsqueeze(1)
        mixed = torch.zeros_like(flat).index_add(0, token, routed).view(x.shape)
        return mixed + cast(Tensor, self.shared(x))


class Layer(nn.Module):
    """One decoder layer: attention, then a dense MLP or experts."""

    def __init__(self, config: PocketConfig, index: int) -> None:
        super().__init__()
        self.attention = Attention(config, f"layer{index}")
        self.input_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.post_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp: Experts | Dense = (
            Experts(config) if index >= config.first_moe_layer else Dense(config, config.dense_size)
        )

    def forward(self, x: Tensor, rotation: Rotation, seen: Seen, cache: Cache | None) -> Tensor:
        x = x + self.attention(self.input_norm(x), rotation, seen, cache)
        return x + cast(Tensor, self.mlp(self.post_norm(x)))


class PocketGLM(nn.Module):
    """The decoder and its MTP layer, which predicts one token further."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: PocketConfig) -> None:
        super().__init__()
        self.config = config
        hidden, eps = config.hidden_size, config.norm_eps
        self.embed = _matrix(config.vocab_size, hidden, scale=0.5)
        self.head = _matrix(config.vocab_size, hidden, scale=0.02)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_layers))
        self.norm = RMSNorm(hidden, eps)
        self.mtp = Layer(config, config.num_layers)
        self.mtp_embed_norm = RMSNorm(hidden, eps)
        self.mtp_hidden_norm = RMSNorm(hidden, eps)
        self.mtp_join = _matrix(hidden, 2 * hidden, scale=(2 * hidden) ** -0.5)
        self.mtp_norm = RMSNorm(hidden, eps)
        rotary = config.rotary_dim
        frequency = 1 / config.rope_theta ** (torch.arange(0, rotary, 2).float() / rotary)
        angle = torch.arange(config.max_positions).float()[:, None] * frequency
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def rotation(self, positions: Tensor) -> Rotation:
        return self.cos[positions].unsqueeze(2), self.sin[positions].unsqueeze(2)

    def experts(self) -> list[Experts]:
        """The expert layers, the MTP layer's last."""
        return [layer.mlp for layer in [*self.layers, self.mtp] if isinstance(layer.mlp, Experts)]

    def forward(
        self, ids: Tensor, positions: Tensor | None = None, seen: Seen = None, cache: Cache | None = None
    ) -> Tensor:
        """ids [B, T] -> final hidden states [B, T, H], normalised; `logits` turns them into scores.

        `positions` [B, T] default to 0..T-1; with a `cache` the keys and values of earlier calls are seen too.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1]).expand(ids.shape)
        x, rotation = F.embedding(ids, self.embed), self.rotation(positions)
        for layer in self.layers:
            x = layer(x, rotation, seen, cache)
        return cast(Tensor, self.norm(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., H] -> [..., V]; the MTP layer shares this head."""
        return F.linear(hidden, self.head)

    def forward_mtp(
        self, hidden: Tensor, following: Tensor, positions: Tensor | None = None, seen: Seen = None
    ) -> Tensor:
        """MTP hidden states [B, T, H]: position i predicts token i+2.

        Args:
            hidden: what `forward` returned for the same positions.
            following: for each position the token after it.
            positions: as in `forward`.
            seen: as in `forward`.
        """
        if positions is None:
            positions = torch.arange(following.shape[1]).expand(following.shape)
        embedded = F.embedding(following, self.embed)
        # vLLM blanks the embedding at position 0.
        embedded = embedded.masked_fill((positions == 0).unsqueeze(-1), 0.0)
        joined = torch.cat([self.mtp_embed_norm(embedded), self.mtp_hidden_norm(hidden)], -1)
        return cast(
            Tensor, self.mtp_norm(self.mtp(F.linear(joined, self.mtp_join), self.rotation(positions), seen, None))
        )
