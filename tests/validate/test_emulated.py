"""The suite on the machine code of cards that are not here, and in Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "levels", "evidence"),
    [
        ("gfx942", "ops,block,model", "emulated"),
        ("gfx950", "ops,block,model", "emulated"),
        pytest.param("interpret", "block", "interpreted", marks=pytest.mark.long),
    ],
)
def test_quick_suite_passes_on(target: str, levels: str, evidence: str, tmp_path: Path) -> None:
    words = ("validate", "--target", target, "--quick", "--level", levels, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "glm_rocm.cli", *words],
        capture_output=True, text=True, timeout=590, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr or json.loads(done.stdout)["verdict"]
    record = json.loads(done.stdout)
    own = [case for case in record["cases"] if case["kernel"].startswith("rocm.") or case["level"] != "ops"]
    assert {case["evidence"] for case in own if case["op"] != "checkpoint"} == {evidence}
    assert {case["level"] for case in record["cases"]} == set(levels.split(","))
