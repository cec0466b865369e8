"""Importing the package does nothing: no torch, no device, no environment variable, no logger."""

from __future__ import annotations

import subprocess
import sys

QUIET = """
import logging, os, sys
before = dict(os.environ), list(logging.root.handlers), set(logging.root.manager.loggerDict)
import glm_rocm
assert dict(os.environ) == before[0]
assert list(logging.root.handlers) == before[1]
assert set(logging.root.manager.loggerDict) == before[2]
heavy = sorted({"torch", "triton", "vllm", "sglang", "transformers", "numpy", "rich", "typer"} & set(sys.modules))
assert not heavy, heavy
"""

PLANNING = """
import sys
import glm_rocm.cli, glm_rocm.plan, glm_rocm.model, glm_rocm.target, glm_rocm.backends, glm_rocm.ops.select
heavy = sorted({"torch", "triton", "vllm", "sglang", "transformers", "numpy"} & set(sys.modules))
assert not heavy, heavy
"""


def in_child(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_import_touches_nothing() -> None:
    in_child(QUIET)


def test_planning_needs_no_torch() -> None:
    in_child(PLANNING)
