"""The plug-in on ROCm: vLLM's real RocmPlatform, with a stand-in for the driver's library, chooses our classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Child = Callable[..., Any]
PlanFor = Callable[..., Path]

CARDS = {
    "gfx942": ("mi300x:8", "zai-org/GLM-4.6-FP8", "torch.float8_e4m3fnuz"),
    "gfx950": ("mi355x:8", "zai-org/GLM-4.6-FP8", "torch.float8_e4m3fn"),
    "gfx1201": ("gfx1201:1", None, "torch.float8_e4m3fn"),
}


@pytest.mark.parametrize("arch", CARDS)
def test_with_a_plan_everything_we_offer_is_ours(arch: str, child: Child, plan_for: PlanFor) -> None:
    target, model, fp8 = CARDS[arch]
    found = child("rocm", arch, plan=plan_for(model, target=target))
    assert found["fp8"] == fp8
    assert found["attention CUSTOM"] == found["attention CUSTOM, FP8 cache"] == "GlmAttentionBackend"
    assert {found["experts bf16"], found["experts per channel"], found["experts per block"]} == {"GlmExperts"}
    linears = (found["linear per channel"], found["linear per block"])
    if model is None:  # a BF16 plan leaves FP8 linears to vLLM
        assert "GlmChannelLinear" not in linears
    else:
        assert linears == ("GlmChannelLinear", "GlmBlockLinear")


def test_without_a_plan_rocm_serves_by_vllms_own_classes(child: Child) -> None:
    found = child("rocm", "gfx942")
    assert found["attention by default"] == "RocmAttentionBackend"
    assert not [name for name in found.values() if name.startswith("Glm")]


def test_aiter_by_a_variable_alone_is_refused(child: Child, plan_for: PlanFor) -> None:
    plan = plan_for("zai-org/GLM-4.6-FP8", target="mi300x:8")
    found = child("rocm", "gfx942", plan=plan, env={"VLLM_ROCM_USE_AITER": "1"})
    assert "VLLM_ROCM_USE_AITER" in found["refused"]
    assert "hint: unset VLLM_ROCM_USE_AITER" in found["refused"]
