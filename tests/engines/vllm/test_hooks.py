"""The places of vLLM that the plug-in stands on, held against the installed vLLM; and what register does to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.engines.hook import Hook
from glm_rocm.engines.vllm.hooks import HOOKS

Child = Callable[..., Any]
LIGHT = """
import sys
from glm_rocm.engines import get_engine
engine = get_engine("vllm")
engine.found_version()
heavy = {"torch", "vllm", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def found(child: Child, plan_for: Callable[..., Path]) -> Any:
    return child("registration", plan=plan_for())


@pytest.fixture(scope="module")
def untouched(child: Child) -> Any:
    return child("registration")


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.dotted.rpartition("vllm.")[2])
def test_the_hook_is_there_with_its_signature(hook: Hook, found: Any) -> None:
    contract = found["contracts"][hook.dotted]
    assert contract["holds"], f"{hook.dotted}: found {contract['found']}, required {contract['required']}"


@pytest.mark.slow
def test_with_a_plan_vllm_serves_by_our_classes(found: Any) -> None:
    assert found["CUSTOM"] == found["CPU_ATTN"] == "glm_rocm.engines.vllm.attention.GlmAttentionBackend"
    assert found["unquantized"][:1] == ["GlmExperts"]
    assert found["fp8"][:1] == ["GlmExperts"]
    assert found["fp8 priority"][:1] == ["TRITON"]
    assert found["tool parser"] == "Glm45ToolParser"
    assert found["reasoning parser"] == "Glm45ReasoningParser"


@pytest.mark.slow
def test_the_parser_of_glm47_stays_vllms_own(found: Any) -> None:
    assert found["tool parser glm47"] == "Glm47MoeModelToolParser"


@pytest.mark.slow
def test_registering_twice_in_a_process_wraps_nothing_twice(found: Any) -> None:
    assert found["unquantized"].count("GlmExperts") == 1
    assert found["fp8"].count("GlmExperts") == 1
    for lists in found["linears"].values():
        assert all(kernels.count(own) <= 1 for kernels in lists for own in ("GlmChannelLinear", "GlmBlockLinear"))


@pytest.mark.slow
def test_our_fp8_linears_come_first_on_every_platform_only_with_an_fp8_plan(
    child: Child, found: Any, plan_for: Callable[..., Path]
) -> None:
    assert not any("GlmChannelLinear" in kernels for kernels, _ in found["linears"].values())
    fp8 = child("registration", plan=plan_for("zai-org/GLM-4.5-Air-FP8", target="mi300x:8"))
    for platform in ("ROCM", "CUDA", "CPU"):
        per_channel, per_block = fp8["linears"][platform]
        assert per_channel[0] == "GlmChannelLinear"
        assert per_block[0] == "GlmBlockLinear"


@pytest.mark.slow
def test_without_a_plan_an_installed_plug_in_changes_nothing(untouched: Any) -> None:
    assert untouched["CPU_ATTN"] == "vllm.v1.attention.backends.cpu_attn.CPUAttentionBackend"
    assert "GlmExperts" not in untouched["unquantized"] + untouched["fp8"]
    assert untouched["tool parser"] == "Glm47MoeModelToolParser"
    assert not any("Glm" in name for lists in untouched["linears"].values() for kernels in lists for name in kernels)
    assert untouched["our modules"] == []


def test_asking_for_the_engine_imports_neither_torch_nor_vllm() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_place_and_a_changed_signature_are_told_apart() -> None:
    assert Hook("json:gone", "").check().found == "missing"
    assert Hook("no_such_module:x", "").check().found == "missing"
    changed = Hook("json:dumps", "", ("obj", "sort_keys")).check()
    assert not changed.holds
    assert changed.found.startswith("(obj, skipkeys")
    assert Hook("json:dumps", "", ("obj",)).check().holds
    assert Hook("json:JSONDecoder", "", members=("decode",)).check().holds
    assert not Hook("json:JSONDecoder", "", members=("decode", "devour")).check().holds
