"""The mended interpreter against torch, in processes whose Triton was imported as an interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHILDREN = Path(__file__).parent / "children"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["casts", "arithmetic", "bounds"])
def test_against_torch(name: str) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHILDREN / f"{name}.py"), TRITON_INTERPRET="1")
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed, done.stdout


def test_another_version_is_refused() -> None:
    code = "import triton; triton.__version__ = '3.6.0'; import exact_interpreter; exact_interpreter.install()"
    done = run("-c", code, TRITON_INTERPRET="1")
    assert done.returncode
    assert "the interpreter of Triton 3.6.0 is not known; required: Triton 3.9.0" in done.stderr


def test_a_compiling_process_is_refused() -> None:
    done = run("-c", "import exact_interpreter; exact_interpreter.install()", TRITON_INTERPRET="0")
    assert done.returncode
    assert "required: `TRITON_INTERPRET=1` when the process starts" in done.stderr


def test_importing_it_imports_nothing() -> None:
    code = "import sys, exact_interpreter; print([m for m in ('torch', 'triton', 'numpy') if m in sys.modules])"
    assert run("-c", code).stdout.strip() == "[]"
