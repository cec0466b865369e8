"""The real command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """`cli("plan", "GLM-4.6", TORCH_CUDA_ARCH_LIST="9.0")`: words, and variables for its environment."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GLM_ROCM", "VLLM"))}
        environment |= {"HF_HUB_OFFLINE": "1", "GLM_ROCM_STATE": str(tmp_path / "state"), **variables}
        return subprocess.run(
            [sys.executable, "-m", "glm_rocm.cli", *words],
            capture_output=True,
            text=True,
            timeout=180,
            env=environment,
            cwd=tmp_path,
        )

    return run


@pytest.fixture
def refuses(cli: Run) -> Run:
    """Run, and hold that it failed as it must: exit code 2, one `error:` line, one `hint:` line, nothing else."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = cli(*words, **variables)
        lines = done.stderr.splitlines()
        assert "Traceback" not in done.stderr, done.stderr
        assert [line for line in lines if line.startswith("error: ")] == lines[:1], done.stderr
        assert [line[:6] for line in lines[1:]] == ["", "hint: "], done.stderr
        assert len(lines[2]) > len("hint: "), done.stderr
        assert done.stdout == ""
        assert done.returncode == 2
        return done

    return run


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[], Path]:
    """A copy of the pocket GLM's checkpoint to damage."""
    from glm_rocm.pocket import checkpoint_path

    def copy() -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        for file in checkpoint_path().iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return copy


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """No process of the test's own stays behind: all that it starts inherits a variable that names its folder."""
    yield
    left = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(tmp_path).encode() in environ.read_bytes():
                left.append(environ.parent.joinpath("cmdline").read_text())
        except OSError:
            continue
    assert left == []
