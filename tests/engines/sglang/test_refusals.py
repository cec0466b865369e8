"""What the plug-in and the launcher refuse, before a model is loaded and before SGLang is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.engines import get_engine
from glm_rocm.engines.base import ServeOptions
from glm_rocm.engines.hook import Hook
from glm_rocm.engines.sglang import hooks, install, versions
from glm_rocm.errors import EngineError
from glm_rocm.plan import Plan, make_plan
from glm_rocm.pocket import checkpoint_path
from glm_rocm.target import parse_target

LAUNCHER = "from glm_rocm.engines.sglang import launcher\ncode = launcher.main()\n"
UNTOUCHED = 'assert "sglang" not in sys.modules, "SGLang was imported before it was refused"\nsys.exit(code)\n'
ANOTHER_VERSION = f"""
import importlib.metadata, sys
real = importlib.metadata.version
importlib.metadata.version = lambda name: "0.5.24" if name == "sglang" else real(name)
{LAUNCHER}{UNTOUCHED}"""
NO_ENTRY_POINT = f"""
import importlib.metadata, sys
importlib.metadata.entry_points = lambda **selection: []
{LAUNCHER}{UNTOUCHED}"""


def planned(model: str = str(checkpoint_path()), target: str = "cpu", **wishes: Any) -> Plan:
    return make_plan(model, parse_target(target), engine="sglang", ops=get_engine("sglang").ops, **wishes)


def launched(code: str, plan: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GLM_ROCM_PLAN": str(plan)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[:1]
    assert any(line.startswith("hint: ") for line in lines)
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(planned().to_json(), encoding="utf-8")
    return path


def test_another_sglang_version_is_refused_before_sglang_is_imported(plan_file: Path) -> None:
    assert_refused(launched(ANOTHER_VERSION, plan_file), "0.5.24", "==0.5.23.*")


def test_a_plug_in_that_sglang_would_not_find_is_refused(plan_file: Path) -> None:
    assert_refused(launched(NO_ENTRY_POINT, plan_file), "sglang.srt.plugins")


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = launched(f"import sys\n{LAUNCHER}sys.exit(code)", tmp_path / "gone.json")
    assert_refused(done, "gone.json", "GLM_ROCM_PLAN")


@pytest.mark.parametrize("version", ["0.5.22", "0.5.24", "0.5.230", "1.5.23"])
def test_other_versions_are_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "found_version", lambda: version)
    with pytest.raises(EngineError, match=version):
        install.check_version()


@pytest.mark.parametrize("version", ["0.5.23", "0.5.23.post1", "0.5.23+rocm720"])
def test_the_supported_release_has_posts_and_vendor_builds(version: str) -> None:
    assert versions.is_supported(version)


def test_a_hook_that_differs_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Hook("json:dumps", "stand in for a hook that moved", ("value", "path"))
    monkeypatch.setattr(hooks, "HOOKS", (moved,))
    with pytest.raises(EngineError, match=r"json\.dumps"):
        install.check_hooks()


def test_aiter_behind_the_plans_back_is_refused() -> None:
    plan = planned("zai-org/GLM-4.6", target="mi300x:8")
    with pytest.raises(EngineError, match="SGLANG_USE_AITER"):
        install.check_aiter(plan, {"SGLANG_USE_AITER": "1"})


def test_aiter_that_is_off_that_the_plan_chose_or_off_rocm_is_not_refused() -> None:
    plan = planned("zai-org/GLM-4.6", target="mi300x:8")
    install.check_aiter(plan, {"SGLANG_USE_AITER": "0"})
    install.check_aiter(planned(), {"SGLANG_USE_AITER": "1"})
    experts = plan.selections[-1]
    chosen = replace(experts, chosen=replace(experts.chosen, name="rocm.aiter_experts"))
    install.check_aiter(replace(plan, selections=(*plan.selections, chosen)), {"SGLANG_USE_AITER": "1"})


def test_drafts_on_emulated_machine_code_are_refused() -> None:
    with pytest.raises(EngineError, match="--emulate gfx942"):
        get_engine("sglang").command(planned(mtp=3, emulate="gfx942"))


def test_the_command_line_is_that_of_glms_readme() -> None:
    plan = planned("zai-org/GLM-4.6-FP8", target="mi300x:8", mtp=3)
    options = ServeOptions(plan_file="plan.json", api_key="secret", extra=("--log-level", "debug"))
    words = get_engine("sglang").command(plan, options)
    line = " ".join(words)
    assert "--speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1" in line
    assert "--speculative-num-draft-tokens 4" in line
    assert "--attention-backend glm_rocm --moe-runner-backend glm_rocm" in line
    assert "--tp-size 8" in line
    assert "--reasoning-parser glm45" in line
    assert "--disable-shared-experts-fusion" in words
    assert words[-2:] == ["--log-level", "debug"]
    assert "secret" not in line
    assert "SGLANG_PLATFORM" not in get_engine("sglang").environment(plan, options)


def test_on_a_cpu_our_platform_is_named_and_nothing_is_compiled() -> None:
    added = get_engine("sglang").environment(planned(), ServeOptions(plan_file="plan.json"))
    assert added["SGLANG_PLATFORM"] == "glm_rocm_cpu"
    assert added["TORCHDYNAMO_DISABLE"] == "1"
    assert "TRITON_INTERPRET" not in added
    assert get_engine("sglang").environment(planned(mtp=3), ServeOptions())["TRITON_INTERPRET"] == "1"
