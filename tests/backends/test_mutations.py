"""The gates catch what the field has shipped: each mutated kernel fails where the real one passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.backends import by_name
from glm_rocm.backends.torch_kernels import attention, linear, moe, norm_rope
from glm_rocm.errors import ParityError
from glm_rocm.numerics import calc_diff, compare, fn_to_fnuz
from glm_rocm.reference import attention as reference_attention
from glm_rocm.reference import linear as reference_linear
from glm_rocm.reference import moe as reference_moe
from glm_rocm.reference import norm_rope as reference_norm_rope
from glm_rocm.reference.norm_rope import cos_sin_table

Build = Callable[..., Any]


def caught(got: Tensor, want: Tensor, kernel: str, dtype: str) -> None:
    """The kernel's own declared tolerance refuses the result."""
    with pytest.raises(ParityError):
        compare(got, want, by_name(kernel).tolerance[dtype])


def swap_halves(w: Tensor) -> Tensor:
    gate, up = w.view(torch.uint8).chunk(2, 1) if w.element_size() == 1 else w.chunk(2, 1)
    return torch.cat([up, gate], 1).view(w.dtype)


def drop_tail(w: Tensor) -> Tensor:
    """What a kernel of whole 128-wide steps sees of a narrower last one."""
    bits = w.clone().view(torch.uint8) if w.element_size() == 1 else w.clone()
    bits[..., 128:] = 0
    return bits.view(w.dtype)


def widened(codes: Tensor, scale: Tensor, quant: str, parts: int) -> Tensor:
    """All experts' weights in fp32; gate and up are two parts with blocks of their own."""
    halves = zip(codes.chunk(parts, 1), scale.chunk(parts, 1), strict=True)
    pairs = [list(zip(part, part_scale, strict=True)) for part, part_scale in halves]
    wide = [torch.stack([reference_linear.dequantize_weight(w, s, quant) for w, s in half]) for half in pairs]
    return torch.cat(wide, 1)


@pytest.mark.parametrize(("quant", "dtype"), [("none", "bfloat16"), ("channel_token", "float8"), ("block", "float8")])
class TestExperts:
    """Mutations of the experts, in BF16 and in both FP8 schemes."""

    @pytest.fixture
    def case(self, experts_case: Build, quant: str) -> Any:
        return experts_case(18, dtype=torch.bfloat16, quant=quant, top_k=8, experts=16)

    @pytest.fixture
    def want(self, case: Any) -> Tensor:
        return reference_moe.experts(*case.arguments, **case.options)

    def test_unmutated_passes(self, case: Any, want: Tensor, dtype: str) -> None:
        compare(moe.experts(*case.arguments, **case.options), want, by_name("cpu.experts").tolerance[dtype])

    def test_gate_and_up_swapped(self, case: Any, want: Tensor, dtype: str) -> None:
        x, w13, w2, ids, weights = case.arguments
        caught(moe.experts(x, swap_halves(w13), w2, ids, weights, **case.options), want, "cpu.experts", dtype)

    def test_k_tail_dropped(self, case: Any, want: Tensor, dtype: str) -> None:
        x, w13, w2, ids, weights = case.arguments
        caught(moe.experts(x, w13, drop_tail(w2), ids, weights, **case.options), want, "cpu.experts", dtype)

    def test_one_expert_of_one_token_wrong(self, case: Any, want: Tensor, dtype: str) -> None:
        x, w13, w2, ids, weights = case.arguments
        wrong = ids.clone()
        wrong[17, weights[17].argmax()] = next(expert for expert in range(16) if expert not in ids[17].tolist())
        got = moe.experts(x, w13, w2, wrong, weights, **case.options)
        caught(got, want, "cpu.experts", dtype)
        pooled = 1 - 2 * (got.double() * want).sum() / (got.double() ** 2 + want.double() ** 2).sum()
        assert float(pooled) < float(calc_diff(got, want).max()) / 10, "a pooled metric would dilute it"

    def test_router_weight_forgotten(self, case: Any, want: Tensor, dtype: str) -> None:
        x, w13, w2, ids, weights = case.arguments
        flat = torch.full_like(weights, float(weights.mean()))
        caught(moe.experts(x, w13, w2, ids, flat, **case.options), want, "cpu.experts", dtype)


@pytest.mark.parametrize("quant", ["channel_token", "block"])
class TestFp8Experts:
    """Mutations that only FP8 experts can suffer."""

    @pytest.fixture
    def case(self, experts_case: Build, quant: str) -> Any:
        return experts_case(18, dtype=torch.bfloat16, quant=quant, top_k=8, experts=16)

    @pytest.fixture
    def want(self, case: Any) -> Tensor:
        return reference_moe.experts(*case.arguments, **case.options)

    @pytest.mark.parametrize("scale", ["w13_scale", "w2_scale"])
    def test_scale_of_the_neighbour(self, case: Any, want: Tensor, scale: str) -> None:
        got = moe.experts(*case.arguments, **{**case.options, scale: case.options[scale].roll(1, 1)})
        caught(got, want, "cpu.experts", "float8")

    def test_activations_left_unquantised(self, case: Any, want: Tensor, quant: str) -> None:
        """FP8 weights alone: half the error of FP8, so only a gate on the same bits sees it."""
        x, w13, w2, ids, weights = case.arguments
        wide13 = widened(w13, case.options["w13_scale"], quant, parts=2)
        wide2 = widened(w2, case.options["w2_scale"], quant, parts=1)
        caught(moe.experts(x.float(), wide13, wide2, ids, weights), want, "cpu.experts", "float8")


def test_fnuz_codes_without_the_doubled_scale() -> None:
    w = torch.randn(64, 192)
    codes, scale = reference_linear.quantize_per_token(w, torch.float8_e4m3fn)
    fnuz, doubled = fn_to_fnuz(codes, scale)
    x = torch.randn(9, 192)
    want = reference_linear.linear(x, codes, w_scale=scale, quant="channel_token")
    tolerance = by_name("cpu.linear").tolerance["float8"]
    compare(linear.linear(x, fnuz, w_scale=doubled, quant="channel_token"), want, tolerance)
    halved = linear.linear(x, fnuz, w_scale=scale, quant="channel_token")
    caught(halved, want, "cpu.linear", "float8")
    torch.testing.assert_close(calc_diff(halved, want), torch.full((9,), 0.2).double(), rtol=1e-3, atol=0)


def test_bits_read_in_the_other_format() -> None:
    codes, scale = reference_linear.quantize_per_token(torch.randn(64, 192), torch.float8_e4m3fn)
    x = torch.randn(9, 192)
    want = reference_linear.linear(x, codes, w_scale=scale, quant="channel_token")
    misread = codes.view(torch.float8_e4m3fnuz)
    caught(linear.linear(x, misread, w_scale=scale, quant="channel_token"), want, "cpu.linear", "float8")


class TestRoute:
    """Mutations of the routing."""

    @pytest.fixture
    def logits(self) -> Tensor:
        return torch.randn(32, 160, generator=torch.Generator().manual_seed(0)) * 2

    @pytest.fixture
    def bias(self) -> Tensor:
        return torch.randn(160, generator=torch.Generator().manual_seed(1)) * 0.2

    def test_bias_left_in_the_weights(self, logits: Tensor, bias: Tensor) -> None:
        ids, want = reference_moe.route(logits, bias, top_k=8, scale=2.5)
        biased = (logits.sigmoid() + bias).gather(1, ids.long())
        caught(biased / biased.sum(-1, keepdim=True) * 2.5, want, "cpu.route", "float32")

    def test_weights_not_normalised(self, logits: Tensor, bias: Tensor) -> None:
        _, want = reference_moe.route(logits, bias, top_k=8, scale=2.5)
        caught(moe.route(logits, bias, top_k=8, scale=2.5, normalize=False)[1], want, "cpu.route", "float32")

    def test_scale_applied_twice(self, logits: Tensor, bias: Tensor) -> None:
        _, want = reference_moe.route(logits, bias, top_k=8, scale=2.5)
        caught(moe.route(logits, bias, top_k=8, scale=2.5)[1] * 2.5, want, "cpu.route", "float32")

    def test_bias_rounded_to_bf16_flips_a_choice(self, logits: Tensor) -> None:
        bias = torch.linspace(11.9, 12.1, 160)
        want, _ = reference_moe.route(logits, bias, top_k=8)
        got, _ = moe.route(logits, bias.bfloat16(), top_k=8)
        assert not torch.equal(got, want)

    def test_groups_masked_with_zero_choose_wrongly_under_a_negative_bias(self, logits: Tensor) -> None:
        bias = torch.full((160,), -2.0)
        want, _ = reference_moe.route(logits, bias, top_k=8, n_group=4, topk_group=2)
        choice = (logits.sigmoid() + bias).view(32, 4, 40)
        kept = choice.topk(2).values.sum(-1).topk(2).indices
        mask = torch.zeros(32, 4, dtype=torch.bool).scatter_(1, kept, True)
        zeroed = choice.masked_fill(~mask[..., None], 0.0).flatten(1)
        assert not torch.equal(zeroed.topk(8).indices.int(), want)


class TestAttention:
    """Mutations of attention, by calling the real kernel with what a wrong one would have used."""

    @pytest.fixture
    def case(self, attention_case: Build) -> Any:
        sequences = [(1, 40), (3, 50), (17, 33)]
        return attention_case(sequences, dtype=torch.bfloat16, k_scale=1.5, v_scale=0.5, padding=0)

    @pytest.fixture
    def want(self, case: Any) -> Tensor:
        return reference_attention.attention(*case.arguments, **case.options)

    def test_last_key_not_seen(self, case: Any, want: Tensor) -> None:
        q, k_cache, v_cache, table, starts, contexts = case.arguments
        got = attention.attention(q, k_cache, v_cache, table, starts, contexts - 1, **case.options)
        caught(got, want, "cpu.attention", "bfloat16")

    @pytest.mark.parametrize("scale", ["k_scale", "v_scale"])
    def test_cache_scale_forgotten(self, case: Any, want: Tensor, scale: str) -> None:
        got = attention.attention(*case.arguments, **{**case.options, scale: 1.0})
        caught(got, want, "cpu.attention", "bfloat16")

    def test_page_of_another_sequence_read(self, case: Any, want: Tensor) -> None:
        q, k_cache, v_cache, table, starts, contexts = case.arguments
        mixed = table.clone()
        mixed[1, 0] = table[0, 0]
        got = attention.attention(q, k_cache, v_cache, mixed, starts, contexts, **case.options)
        caught(got, want, "cpu.attention", "bfloat16")

    def test_no_causal_mask_within_the_queries(self, case: Any, want: Tensor) -> None:
        """Each query as a sequence of its own over the whole context: all its successors are seen."""
        q, k_cache, v_cache, table, _, contexts = case.arguments
        owner = torch.tensor([0] + [1] * 3 + [2] * 17)
        starts = torch.arange(22, dtype=torch.int32)
        got = attention.attention(q, k_cache, v_cache, table[owner], starts, contexts[owner], **case.options)
        caught(got, want, "cpu.attention", "bfloat16")


class TestNormRope:
    """Mutations of QK norm and rope."""

    @pytest.fixture
    def inputs(self) -> tuple[Tensor, ...]:
        q, k = torch.randn(9, 12, 128).bfloat16(), torch.randn(9, 1, 128).bfloat16()
        return q, k, torch.arange(9) * 7, torch.rand(128) + 0.5, torch.rand(128) + 0.5

    @pytest.fixture
    def want(self, inputs: tuple[Tensor, ...]) -> Tensor:
        q, k, positions, q_weight, k_weight = inputs
        table = cos_sin_table(64, 64, 1e6)
        return reference_norm_rope.norm_rope(q, k, positions, table, q_weight=q_weight, k_weight=k_weight, eps=1e-5)[0]

    def test_whole_head_rotated(self, inputs: tuple[Tensor, ...], want: Tensor) -> None:
        q, k, positions, q_weight, k_weight = inputs
        table = cos_sin_table(64, 128, 1e6)
        got, _ = norm_rope.norm_rope(q, k, positions, table, q_weight=q_weight, k_weight=k_weight, eps=1e-5)
        caught(got, want, "cpu.norm_rope", "bfloat16")

    def test_neighbours_paired(self, inputs: tuple[Tensor, ...], want: Tensor) -> None:
        q, k, positions, q_weight, k_weight = inputs
        order = torch.cat([torch.arange(64).view(32, 2).t().flatten(), torch.arange(64, 128)])
        got, _ = norm_rope.norm_rope(
            q[..., order], k[..., order], positions, cos_sin_table(64, 64, 1e6),
            q_weight=q_weight[order], k_weight=k_weight[order], eps=1e-5,
        )  # fmt: skip
        caught(got[..., order.argsort()], want, "cpu.norm_rope", "bfloat16")

    def test_norm_forgotten(self, inputs: tuple[Tensor, ...], want: Tensor) -> None:
        q, k, positions, *_ = inputs
        got, _ = norm_rope.norm_rope(q, k, positions, cos_sin_table(64, 64, 1e6), eps=1e-5)
        caught(got, want, "cpu.norm_rope", "bfloat16")

    def test_norm_after_rope(self, inputs: tuple[Tensor, ...], want: Tensor) -> None:
        q, k, positions, q_weight, _ = inputs
        rotated, _ = norm_rope.norm_rope(q, k, positions, cos_sin_table(64, 64, 1e6), eps=1e-5)
        got = reference_norm_rope.rms_norm(rotated, q_weight, 1e-5)
        caught(got, want, "cpu.norm_rope", "bfloat16")
