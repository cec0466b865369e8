"""What the plug-in and the launcher refuse, before a model is loaded and before vLLM is imported."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glm_rocm.engines.vllm import install, register, versions
from glm_rocm.errors import EngineError, PlanError
from glm_rocm.plan import Plan

Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Plan]

LAUNCHER = ("-m", "glm_rocm.engines.vllm.launcher", "serve")
ANOTHER_VERSION = """
import importlib.metadata, sys
real = importlib.metadata.version
importlib.metadata.version = lambda name: "0.33.1" if name == "vllm" else real(name)
from glm_rocm.engines.vllm import launcher
code = launcher.main()
assert "vllm" not in sys.modules, "vLLM was imported before it was refused"
sys.exit(code)
"""
NO_ENTRY_POINT = """
import importlib.metadata, sys
importlib.metadata.entry_points = lambda **selection: []
from glm_rocm.engines.vllm import launcher
sys.exit(launcher.main())
"""


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[:1]
    assert any(line.startswith("hint: ") for line in lines)
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_another_vllm_version_is_refused_before_vllm_is_imported(run: Run, plan_for: Callable[..., Path]) -> None:
    assert_refused(run("-c", ANOTHER_VERSION, plan=plan_for()), "0.33.1", "==0.32.*")


def test_a_plug_in_that_vllm_would_not_find_is_refused(run: Run, plan_for: Callable[..., Path]) -> None:
    assert_refused(run("-c", NO_ENTRY_POINT, plan=plan_for()), "vllm.general_plugins")


def test_a_plan_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    assert_refused(run(*LAUNCHER, plan=tmp_path / "gone.json"), "gone.json", "GLM_ROCM_PLAN")


def test_a_file_that_is_no_plan_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert_refused(run(*LAUNCHER, plan=tmp_path / "other.json"), "not a plan")


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "0.320.0", "1.32.0"])
def test_register_refuses_other_versions(
    version: str, monkeypatch: pytest.MonkeyPatch, plan_for: Callable[..., Path]
) -> None:
    monkeypatch.setattr(install, "found_version", lambda: version)
    with pytest.raises(EngineError, match=version):
        install.check_version()


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1", "0.32.0+rocm711", "0.32.1.dev3+gabc"])
def test_the_supported_series_has_patches_and_vendor_builds(version: str) -> None:
    assert versions.is_supported(version)


def test_register_without_a_plan_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLM_ROCM_PLAN", raising=False)
    monkeypatch.setattr(install, "install", lambda plan: pytest.fail("installed without a plan"))
    register()


def rocm_plan(make: Make) -> Plan:
    return make("zai-org/GLM-4.6", target="mi300x:8")


def test_aiter_behind_the_plans_back_is_refused(make: Make) -> None:
    with pytest.raises(EngineError, match="VLLM_ROCM_USE_AITER"):
        install.check_aiter(rocm_plan(make), {"VLLM_ROCM_USE_AITER": "1"})


@pytest.mark.parametrize("environment", [{}, {"VLLM_ROCM_USE_AITER": "0"}, {"VLLM_ROCM_USE_AITER": "false"}])
def test_aiter_that_is_off_is_not_refused(make: Make, environment: dict[str, str]) -> None:
    install.check_aiter(rocm_plan(make), environment)


def test_aiter_that_the_plan_chose_is_not_refused(make: Make) -> None:
    plan = rocm_plan(make)
    experts = plan.selections[-1]
    chosen = replace(experts, chosen=replace(experts.chosen, name="rocm.aiter_experts"))
    install.check_aiter(replace(plan, selections=(*plan.selections, chosen)), {"VLLM_ROCM_USE_AITER": "1"})


def test_aiter_means_nothing_off_rocm(make: Make) -> None:
    install.check_aiter(make(), {"VLLM_ROCM_USE_AITER": "1"})


def test_a_hook_that_differs_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from glm_rocm.engines.hook import Hook
    from glm_rocm.engines.vllm import hooks

    moved = Hook("json:dumps", "stand in for a hook that moved", ("value", "path"))
    monkeypatch.setattr(hooks, "HOOKS", (moved,))
    with pytest.raises(EngineError, match=r"json\.dumps"):
        install.check_hooks()


def test_an_unreadable_plan_is_a_plan_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from glm_rocm.engines.active import active_plan

    monkeypatch.setenv("GLM_ROCM_PLAN", str(tmp_path))  # a folder
    active_plan.cache_clear()
    with pytest.raises(PlanError, match="cannot be read"):
        active_plan()
    active_plan.cache_clear()
