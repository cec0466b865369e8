"""The reference is the specification, so it is held against an implementation that is not ours: transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Glm4MoeForCausalLM
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeDecoderLayer, Glm4MoeRMSNorm

from glm_rocm.reference import model as reference
from glm_rocm.reference.block import block, empty_cache, one_sequence
from glm_rocm.reference.mtp import mtp
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.weights import load_mtp

TOKENS = 21
Make = Callable[..., tuple[Glm4MoeForCausalLM, dict[str, Tensor], reference.Model]]

VARIANTS = {
    "355B: qk norm, scale 2.5": {},
    "air: no qk norm, scale 1": {"use_qk_norm": False, "routed_scaling_factor": 1.0},
    "groups": {"n_group": 4, "topk_group": 2},
    "weights not normalised": {"norm_topk_prob": False},
    "two key heads, no bias": {"num_key_value_heads": 2, "attention_bias": False},
    "two shared experts": {"n_shared_experts": 2},
}


def theirs_through(layer: Glm4MoeDecoderLayer, theirs: Glm4MoeForCausalLM, x: Tensor) -> Tensor:
    """transformers' decoder layer on one causal sequence `[T, H]`."""
    positions = torch.arange(x.shape[0])[None]
    mask = torch.full((x.shape[0], x.shape[0]), float("-inf")).triu(1)[None, None]
    rotary = theirs.model.rotary_emb(x[None], positions)
    with torch.no_grad():
        return layer(x[None], attention_mask=mask, position_embeddings=rotary)[0]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("layer", [0, 1], ids=["dense", "experts"])
def test_block_equals_decoder_layer(tiny_glm: Make, changes: dict[str, Any], layer: int) -> None:
    theirs, _, ours = tiny_glm(**changes)
    x = torch.randn(TOKENS, ours.spec.hidden)
    want = theirs_through(theirs.model.layers[layer], theirs, x)
    cos_sin = cos_sin_table(TOKENS, ours.spec.rotary_dim, ours.spec.rope_theta)
    got = block(x, ours.blocks[layer], empty_cache(TOKENS, ours.spec), one_sequence(TOKENS), cos_sin, ours.spec)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_whole_model_logits(tiny_glm: Make) -> None:
    theirs, _, ours = tiny_glm()
    tokens = torch.randint(0, ours.spec.vocab, (TOKENS,))
    with torch.no_grad():
        want = theirs(tokens[None]).logits[0]
    torch.testing.assert_close(reference.logits(ours, tokens), want, rtol=1e-5, atol=1e-4)


def test_block_in_chunks_and_steps_equals_whole(tiny_glm: Make) -> None:
    """Prefill in two chunks, then one token at a time, over a cache that holds NaN beyond what was written."""
    _, _, ours = tiny_glm()
    x = torch.randn(TOKENS, ours.spec.hidden)
    cos_sin = cos_sin_table(TOKENS, ours.spec.rotary_dim, ours.spec.rope_theta)

    def through(*sizes: int) -> Tensor:
        cache, parts, done = empty_cache(TOKENS, ours.spec), [], 0
        for size in sizes:
            batch = one_sequence(size, cached=done)
            parts.append(block(x[done : done + size], ours.blocks[1], cache, batch, cos_sin, ours.spec))
            done += size
        return torch.cat(parts)

    torch.testing.assert_close(through(10, 7, 1, 1, 1, 1), through(TOKENS), rtol=1e-5, atol=1e-5)


def test_mtp_equals_its_parts_from_transformers(tiny_glm: Make) -> None:
    """transformers has no MTP layer: its norms, linear and decoder layer are put together as vLLM does."""
    theirs, tensors, ours = tiny_glm(num_hidden_layers=4)
    spec, hidden = replace(ours.spec, layers=3, mtp_layers=1), ours.spec.hidden  # the fourth layer becomes the MTP one
    extra = {
        "enorm": torch.rand(hidden) + 0.5,
        "hnorm": torch.rand(hidden) + 0.5,
        "eh_proj": torch.randn(hidden, 2 * hidden) / 10,
        "shared_head.norm": torch.rand(hidden) + 0.5,
        "shared_head.head": torch.randn(spec.vocab, hidden),
    }
    weights = load_mtp(tensors | {f"model.layers.3.{name}.weight": value for name, value in extra.items()}, spec)
    embedded, last = torch.randn(TOKENS, hidden), torch.randn(TOKENS, hidden)

    def norm(x: Tensor, name: str) -> Tensor:
        layer = Glm4MoeRMSNorm(hidden, eps=spec.rms_eps)
        layer.weight.data = extra[name]
        return layer(x).detach()

    first_is_zero = embedded.clone()
    first_is_zero[0] = 0.0
    joined = torch.cat([norm(first_is_zero, "enorm"), norm(last, "hnorm")], -1) @ extra["eh_proj"].T
    want_hidden = theirs_through(theirs.model.layers[3], theirs, joined)
    want = norm(want_hidden, "shared_head.norm") @ extra["shared_head.head"].T

    cos_sin = cos_sin_table(TOKENS, spec.rotary_dim, spec.rope_theta)
    got, got_hidden = mtp(embedded, last, weights, empty_cache(TOKENS, spec), one_sequence(TOKENS), cos_sin, spec)
    torch.testing.assert_close(got_hidden, want_hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


def test_mtp_without_a_head_of_its_own_takes_the_models(tiny_glm: Make) -> None:
    _, tensors, ours = tiny_glm()
    at = f"model.layers.{ours.spec.layers}."
    layer = {name.replace("model.layers.2.", at): value for name, value in tensors.items() if "layers.2." in name}
    for name in ("enorm", "hnorm", "eh_proj", "shared_head.norm"):
        layer[f"{at}{name}.weight"] = torch.ones(1)
    assert load_mtp(tensors | layer, ours.spec).head is tensors["lm_head.weight"]
