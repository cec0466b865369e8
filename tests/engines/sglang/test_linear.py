"""FP8 linears as SGLang holds their weights, by the plan's kernel, against the reference on the same bits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from glm_rocm.backends.torch_kernels.linear import linear as torch_linear
from glm_rocm.engines.sglang import linear
from glm_rocm.reference.linear import linear as reference

FP8 = torch.float8_e4m3fn


@pytest.fixture(autouse=True)
def _torch_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel that a plan for a CPU chooses."""
    monkeypatch.setattr(linear, "kernel", {"linear": torch_linear}.__getitem__)


def weights(scale_shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [2, 3, K], w [N, K] in FP8, its scales, a bias; N = 256, K = 128."""
    make = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 128, generator=make).bfloat16()
    w = torch.randn(256, 128, generator=make).to(FP8)
    scale = torch.rand(scale_shape, generator=make) / 100 + 1e-3
    return x, w, scale, torch.randn(256, generator=make).bfloat16()


def test_per_channel_and_token_with_the_weight_transposed() -> None:
    x, w, scale, bias = weights((256, 1))
    layer = SimpleNamespace(weight=w.t(), weight_scale=scale)
    kind = SimpleNamespace(weight_block_size=None, strategy="channel", is_static_input_scheme=False)
    found = linear.apply_compressed(None, kind, layer, x, bias)
    want = reference(x.view(6, 128), w, w_scale=scale, bias=bias, quant="channel_token").view(2, 3, 256)
    assert found.dtype == x.dtype
    torch.testing.assert_close(found.float(), want, rtol=2e-2, atol=2e-2)


def test_in_blocks() -> None:
    x, w, scale, bias = weights((2, 1))
    layer = SimpleNamespace(weight=w, weight_scale_inv=scale)
    kind = SimpleNamespace(quant_config=SimpleNamespace(weight_block_size=[128, 128]))
    found = linear.apply_fp8(None, kind, layer, x, bias)
    want = reference(x.view(6, 128), w, w_scale=scale, bias=bias, quant="block").view(2, 3, 256)
    torch.testing.assert_close(found.float(), want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("strategy", ["tensor", "group"])
def test_scales_of_another_kind_are_refused(strategy: str) -> None:
    x, w, scale, _ = weights((256, 1))
    kind = SimpleNamespace(weight_block_size=None, strategy=strategy, is_static_input_scheme=False)
    with pytest.raises(NotImplementedError, match="per channel"):
        linear.apply_compressed(None, kind, SimpleNamespace(weight=w.t(), weight_scale=scale), x)
