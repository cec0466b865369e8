"""What a language model does to rows: sums, norms, rotations, activations, quantisation, routing, counting."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import FP8, Case, close, equal

BF16_ULP = 2.0**-8
FP8_MOST = {"gfx942": 240.0, "gfx950": 448.0}
GROUP = 128


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, at < n) + tl.load(y + at, at < n), at < n)


@triton.jit
def softmax(x, out, stride, n, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    value = tl.load(x + row * stride + at, at < n, other=-float("inf")).to(tl.float32)
    power = tl.exp(value - tl.max(value, 0))
    tl.store(out + row * stride + at, (power / tl.sum(power, 0)).to(out.dtype.element_ty), at < n)


@triton.jit
def rms_norm(x, residual, weight, out, stride, n, epsilon, BLOCK: tl.constexpr):
    """residual += x; out = residual / rms(residual) * weight"""
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    place = row * stride + at
    total = tl.load(x + place, at < n, other=0.0).to(tl.float32)
    total += tl.load(residual + place, at < n, other=0.0).to(tl.float32)
    tl.store(residual + place, total.to(residual.dtype.element_ty), at < n)
    scale = tl.rsqrt(tl.sum(total * total, 0) / n + epsilon)
    scaled = total * scale * tl.load(weight + at, at < n, other=0.0).to(tl.float32)
    tl.store(out + place, scaled.to(out.dtype.element_ty), at < n)


@triton.jit
def rotate(x, cosine, sine, position, out, stride_t, stride_h, stride_c, HALF: tl.constexpr):
    """Rotary embedding of the first 2 * HALF elements of each head."""
    token, head, at = tl.program_id(0), tl.program_id(1), tl.arange(0, HALF)
    angle = tl.load(position + token) * stride_c + at
    c, s = tl.load(cosine + angle), tl.load(sine + angle)
    place = token * stride_t + head * stride_h + at
    a, b = tl.load(x + place).to(tl.float32), tl.load(x + place + HALF).to(tl.float32)
    tl.store(out + place, (a * c - b * s).to(out.dtype.element_ty))
    tl.store(out + place + HALF, (b * c + a * s).to(out.dtype.element_ty))


@triton.jit
def quantise(x, out, scales, stride, stride_s, MOST: tl.constexpr, GROUP: tl.constexpr):
    """Each GROUP of a row to fp8, with a scale of its own."""
    row, group = tl.program_id(0), tl.program_id(1)
    place = row * stride + group * GROUP + tl.arange(0, GROUP)
    value = tl.load(x + place).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(value), 0), 1e-10) / MOST
    tl.store(out + place, tl.clamp(value / scale, -MOST, MOST).to(out.dtype.element_ty))
    tl.store(scales + row * stride_s + group, scale)


@triton.jit
def gated(x, out, n, stride, stride_out, BLOCK: tl.constexpr):
    """silu(x[:, :n]) * x[:, n:]"""
    row, at = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(x + row * stride + at, at < n, other=0.0).to(tl.float32)
    up = tl.load(x + row * stride + n + at, at < n, other=0.0).to(tl.float32)
    tl.store(out + row * stride_out + at, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), at < n)


@triton.jit
def route(logits, bias, weights, chosen, EXPERTS: tl.constexpr, K: tl.constexpr):
    """The K experts with the highest biased score, best first, and their scores without the bias."""
    token, expert = tl.program_id(0), tl.arange(0, EXPERTS)
    score = tl.sigmoid(tl.load(logits + token * EXPERTS + expert))
    biased = score + tl.load(bias + expert)
    for k in tl.static_range(K):
        best = tl.argmax(biased, 0)
        tl.store(chosen + token * K + k, best)
        tl.store(weights + token * K + k, tl.sum(tl.where(expert == best, score, 0.0), 0))
        biased = tl.where(expert == best, -float("inf"), biased)


@triton.jit
def count(ids, counts, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(counts + tl.load(ids + at, at < n, other=0), 1, at < n)


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _add_arguments(arch: str) -> list[Any]:
    return [_random(1, 500), _random(2, 500), torch.zeros(500), 500]


def _add_check(arguments: list[Any], arch: str) -> None:
    equal(arguments[2], arguments[0] + arguments[1])


def _softmax_arguments(arch: str) -> list[Any]:
    return [_random(3, 2, 400).bfloat16(), torch.zeros(2, 400, dtype=torch.bfloat16), 400, 400]


def _softmax_check(arguments: list[Any], arch: str) -> None:
    close(arguments[1], arguments[0].double().softmax(-1), BF16_ULP)


def _norm_arguments(arch: str) -> list[Any]:
    x, residual, weight = (
        _random(seed, *shape).bfloat16() for seed, shape in ((4, (1, 4096)), (5, (1, 4096)), (6, (4096,)))
    )
    return [x, residual, weight, torch.zeros(1, 4096, dtype=torch.bfloat16), 4096, 4096, 1e-5]


def _norm_check(arguments: list[Any], arch: str) -> None:
    x, residual, weight, out = arguments[:4]
    total = x.double() + _random(5, 1, 4096).bfloat16().double()
    close(residual, total, BF16_ULP)
    close(out, total * (total.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double(), BF16_ULP)


def _rotate_arguments(arch: str) -> list[Any]:
    x, angle = _random(7, 2, 2, 128).bfloat16(), _random(8, 64, 32)
    position = torch.tensor([5, 9], dtype=torch.int32)
    return [x, angle.cos(), angle.sin(), position, torch.zeros_like(x), 256, 128, 32]


def _rotate_check(arguments: list[Any], arch: str) -> None:
    x, cosine, sine, position, out = arguments[:5]
    c, s = (each[position.long()][:, None].double() for each in (cosine, sine))
    a, b = x[..., :32].double(), x[..., 32:64].double()
    close(out[..., :64], torch.cat([a * c - b * s, b * c + a * s], -1), BF16_ULP, 1e-6)
    assert out[..., 64:].eq(0).all()


def _quantise_arguments(arch: str) -> list[Any]:
    x = _random(9, 2, 256).bfloat16()
    return [x, torch.zeros(2, 256).to(FP8[arch]), torch.zeros(2, 2), 256, 2, FP8_MOST[arch]]


def _quantise_check(arguments: list[Any], arch: str) -> None:
    x, out, scales = arguments[:3]
    most, groups = FP8_MOST[arch], x.float().reshape(2, 2, GROUP)
    expected = groups.abs().amax(-1) / most
    equal(scales, expected)
    codes = (groups / expected[..., None]).clamp(-most, most).to(FP8[arch])
    equal(out.view(torch.uint8), codes.reshape(2, 256).view(torch.uint8))


def _gated_arguments(arch: str) -> list[Any]:
    return [_random(10, 2, 800).bfloat16(), torch.zeros(2, 400, dtype=torch.bfloat16), 400, 800, 400]


def _gated_check(arguments: list[Any], arch: str) -> None:
    x = arguments[0].double()
    close(arguments[1], torch.nn.functional.silu(x[:, :400]) * x[:, 400:], BF16_ULP, 1e-7)


def _route_arguments(arch: str) -> list[Any]:
    logits, bias = _random(11, 3, 128), _random(12, 128) * 0.1
    return [logits, bias, torch.zeros(3, 8), torch.zeros(3, 8, dtype=torch.int32)]


def _route_check(arguments: list[Any], arch: str) -> None:
    logits, bias, weights, chosen = arguments
    score = logits.sigmoid()
    expected = (score + bias).topk(8).indices
    equal(chosen, expected)
    close(weights, score.gather(1, expected), 1e-6)


def _count_arguments(arch: str) -> list[Any]:
    ids = torch.randint(0, 16, (500,), generator=torch.Generator().manual_seed(13), dtype=torch.int32)
    return [ids, torch.zeros(16, dtype=torch.int32), 500]


def _count_check(arguments: list[Any], arch: str) -> None:
    equal(arguments[1], arguments[0].bincount(minlength=16))


CASES = [
    Case("add", add, (2,), _add_arguments, _add_check, {"BLOCK": 256}),
    Case("softmax", softmax, (2,), _softmax_arguments, _softmax_check, {"BLOCK": 512}),
    Case("rms_norm_with_residual", rms_norm, (1,), _norm_arguments, _norm_check, {"BLOCK": 4096}),
    Case("rotary_of_half_a_head", rotate, (2, 2), _rotate_arguments, _rotate_check, {"HALF": 32, "num_warps": 1}),
    Case(
        "quantise_groups_to_fp8",
        quantise,
        (2, 2),
        _quantise_arguments,
        _quantise_check,
        {"GROUP": GROUP, "num_warps": 1},
    ),
    Case("silu_times_up", gated, (2, 1), _gated_arguments, _gated_check, {"BLOCK": 512}),
    Case("sigmoid_top_8_of_128", route, (3,), _route_arguments, _route_check, {"EXPERTS": 128, "K": 8, "num_warps": 1}),
    Case("histogram_by_atomics", count, (2,), _count_arguments, _count_check, {"BLOCK": 256}),
]
