"""The engine as doctor, the plan and the command line see it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm.engines import engine_names, get_engine
from glm_rocm.engines.base import Engine
from glm_rocm.engines.transformers import active, hooks, install, plan_generation
from glm_rocm.engines.transformers.generation import load_model
from glm_rocm.errors import CheckpointError, EngineError, PlanError
from glm_rocm.model import KNOWN
from glm_rocm.plan import Plan
from glm_rocm.target import parse_target


def test_it_is_found_by_name_and_does_not_serve(checkpoint: Path, plan_for: Callable[..., Plan]) -> None:
    engine: Engine = get_engine("transformers")
    assert "transformers" in engine_names()
    assert not engine.serves
    assert engine.found_version() == importlib.metadata.version("transformers")
    plan = plan_for(checkpoint)
    assert (engine.command(plan), engine.environment(plan)) == ([], {})


def test_every_hook_holds_in_the_installed_transformers() -> None:
    contracts = get_engine("transformers").contracts()
    assert len(contracts) == len(hooks.HOOKS)
    assert [contract for contract in contracts if not contract.holds] == []


def test_a_hook_that_is_gone_is_refused_before_anything_loads(
    checkpoint: Path, plan_for: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = dataclasses.replace(hooks.ATTENTION, path="transformers:AttentionInterface.enlist")
    monkeypatch.setattr(hooks, "HOOKS", (gone,))
    with pytest.raises(EngineError, match=r"AttentionInterface\.enlist"):
        install.install(plan_for(checkpoint))


@pytest.mark.parametrize("version", ["4.57.1", "5.18.0", "6.0.0"])
def test_another_version_is_refused_with_what_is_required(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    with pytest.raises(EngineError) as caught:
        install.check_version()
    assert version in caught.value.found
    assert install.SUPPORTED in caught.value.required


@pytest.mark.parametrize("version", ["5.19.0", "5.23.0.dev0"])
def test_versions_of_the_supported_range_are_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    install.check_version()


def test_transformers_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(EngineError, match="not installed"):
        install.check_version()
    assert get_engine("transformers").found_version() is None
    assert get_engine("transformers").contracts() == []


def test_an_op_without_a_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active, "_kernels", {})
    with pytest.raises(PlanError, match=r"moe\.experts"):
        active.kernel("moe.experts")


def test_the_plan_holds_what_transformers_hands_over_and_pages_of_one_token(checkpoint: Path) -> None:
    plan = plan_generation(str(checkpoint), parse_target("cpu"))
    problems = {selection.problem.op: selection.problem for selection in plan.selections}
    assert set(problems) == {"attention", "moe.experts"}
    assert getattr(problems["attention"], "block_size") == 1  # noqa: B009 (problems differ in their fields)
    assert (plan.engine, plan.tp) == ("transformers", 1)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_for_a_device_that_is_not_here(checkpoint: Path) -> None:
    plan = plan_generation(str(checkpoint), parse_target("mi300x"))
    with pytest.raises(EngineError, match="mi300x"):
        load_model(plan)


def test_importing_the_engine_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from glm_rocm.engines.transformers import ENGINE; "
        "print(ENGINE.found_version() is not None, {'torch', 'transformers'} & {*sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "set()"]


def test_register_takes_the_plan_from_the_environment_or_does_nothing(
    checkpoint: Path, plan_for: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "_kernels", {})
    monkeypatch.delenv("GLM_ROCM_PLAN", raising=False)
    get_engine("transformers").register()
    assert active._kernels == {}
    monkeypatch.setenv("GLM_ROCM_PLAN", str(tmp_path / "plan.json"))
    with pytest.raises(PlanError, match="cannot be read"):
        get_engine("transformers").register()
    (tmp_path / "plan.json").write_text(plan_for(checkpoint).to_json())
    for _ in range(2):  # vLLM calls plug-ins several times, and so may others
        get_engine("transformers").register()
    assert set(active._kernels) == {"attention", "moe.experts"}


def test_a_truncated_shard_is_an_error_of_ours_before_transformers_sees_it(
    checkpoint: Path, plan_for: Callable[..., Plan], tmp_path: Path
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(checkpoint, folder)
    with (folder / "model.safetensors").open("r+b") as handle:
        handle.truncate(10_000)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(plan_for(folder))


def test_a_model_known_by_name_that_was_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    plan = plan_generation("pocket", parse_target("cpu"))
    with pytest.raises(CheckpointError) as caught:
        load_model(dataclasses.replace(plan, model=KNOWN["zai-org/GLM-4.5-Air"]))
    assert caught.value.hint == "hf download zai-org/GLM-4.5-Air"
