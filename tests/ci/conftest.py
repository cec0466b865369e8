"""The scripts of ci/ are no package: they find each other in their own folder, and so do their tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "ci"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout with the scripts, one quick test and a matrix of its own to be written by the test."""
    root = tmp_path / "checkout"
    (root / "ci").mkdir(parents=True)
    for script in (*(ROOT / "ci").glob("*.py"), *(ROOT / "ci").glob("*.sh"), *(ROOT / "ci").glob("*.schema.json")):
        shutil.copy(script, root / "ci")
    shutil.copytree(
        ROOT / "glm_rocm", root / "glm_rocm", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__", "data")
    )
    (root / "Makefile").write_text("good:\n\t@true\nbad:\n\t@echo 'error: it broke'; false\n")
    (root / ".gitignore").write_text("build/\n__pycache__/\n")
    tests = root / "tests" / "kernels"
    tests.mkdir(parents=True)
    (tests / "test_linear.py").write_text(
        "import os, time, pytest\n"
        "@pytest.mark.parametrize('dtype', ['torch.bfloat16', 'torch.float16', 'torch.float32'])\n"
        "def test_good(dtype): assert os.environ['GLM_ROCM_ENGINE'] == 'vllm'\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip(reason='no card')\n"
        "def test_skipped(): pass\n"
        "def test_hangs():\n"
        "    open('hanging', 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    return root


@pytest.fixture
def commit(checkout: Path) -> Callable[[], str]:
    """Commit all of the checkout; gives the commit."""

    def run() -> str:
        words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
        if not (checkout / ".git").exists():
            subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
        subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
        subprocess.run([*words, "commit", "-q", "-m", "x"], cwd=checkout, check=True)
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return run


@pytest.fixture
def run_cell(checkout: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`ci/cell.sh CELL ...` in the checkout, with this test's own interpreter."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHON": sys.executable}
        return subprocess.run(
            ["bash", "ci/cell.sh", *words], cwd=checkout, capture_output=True, text=True, check=False, env=environment
        )

    return run
