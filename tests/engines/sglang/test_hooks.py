"""The places of SGLang that the plug-in stands on, held against the installed SGLang; and what register does to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.engines import get_engine
from glm_rocm.engines.sglang.hooks import HOOKS
from glm_rocm.plan import make_plan
from glm_rocm.pocket import checkpoint_path
from glm_rocm.target import parse_target

CHILD = Path(__file__).with_name("children") / "registration.py"
LIGHT = """
import sys
from glm_rocm.engines import get_engine
engine = get_engine("sglang")
engine.found_version()
heavy = {"torch", "sglang", "transformers", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""


def plan_file(folder: Path, model: str = str(checkpoint_path()), target: str = "cpu", **wishes: Any) -> Path:
    made = make_plan(model, parse_target(target), engine="sglang", ops=get_engine("sglang").ops, **wishes)
    path = folder / "plan.json"
    path.write_text(made.to_json(), encoding="utf-8")
    return path


def registered(plan: Path | None) -> Any:
    """What a process that has loaded SGLang's plug-ins finds in its SGLang."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SGLANG_", "GLM_ROCM_"))}
    if plan is not None:
        environment |= {"GLM_ROCM_PLAN": str(plan), "SGLANG_PLATFORM": "glm_rocm_cpu"}
    done = subprocess.run(
        [sys.executable, str(CHILD)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert answers, done.stderr[-3000:]
    return json.loads(answers[-1].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return registered(plan_file(tmp_path_factory.mktemp("plan")))


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.dotted.removeprefix("sglang."))
def test_the_hook_is_there_with_its_signature(hook: Any, found: Any) -> None:
    contract = found["contracts"][hook.dotted]
    assert contract["holds"], f"{hook.dotted}: found {contract['found']}, required {contract['required']}"


@pytest.mark.slow
def test_with_a_plan_sglang_knows_our_names_and_takes_our_functions(found: Any) -> None:
    assert found["words"] == {"attention": True, "draft": True, "runner": True}
    assert found["platform"] == "GlmCpuPlatform"
    assert all(found["wrapped"].values()), found["wrapped"]


@pytest.mark.slow
def test_without_a_plan_an_installed_plug_in_changes_nothing() -> None:
    untouched = registered(None)
    assert untouched["words"] == {"attention": False, "draft": False, "runner": False}
    assert untouched["platform"] != "GlmCpuPlatform"
    assert not any(untouched["wrapped"].values())
    assert untouched["our modules"] == []


def test_asking_for_the_engine_imports_neither_torch_nor_sglang() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
