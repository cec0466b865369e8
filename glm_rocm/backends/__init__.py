"""Who computes: one vendor, one file, found by name (`rocm`, `cuda`, `cpu`); each declares KERNELS by priority."""

from __future__ import annotations

import importlib
import importlib.util

from glm_rocm.errors import UsageError
from glm_rocm.ops.kernel import Kernel
from glm_rocm.target import Target

ALWAYS = "cpu"
"""The backend whose torch kernels stand last on every target."""


def candidates(target: Target) -> tuple[Kernel, ...]:
    """The kernels that `select` looks at for a target, in priority order: its vendor's own, then the torch kernels."""
    own = _kernels(target.vendor) if target.vendor != ALWAYS else ()
    return (*own, *_kernels(ALWAYS))


def by_name(name: str) -> Kernel:
    """The kernel of a name that a plan holds, `<backend>.<stem>`.

    Raises:
        UsageError: no backend file of that name, or none of its kernels is called so.
    """
    kernels = _kernels(name.partition(".")[0])
    for kernel in kernels:
        if kernel.name == name:
            return kernel
    known = ", ".join(f"`{kernel.name}`" for kernel in kernels or _kernels(ALWAYS))
    raise UsageError(f"unknown kernel `{name}`", required=f"one of {known}", hint="list them with `glm-rocm backends`")


def environment(target: Target) -> dict[str, str]:
    """What a process that loads the target's kernels needs in its environment: `environment` of its backend's file."""
    module = f"{__name__}.{target.vendor}"
    if importlib.util.find_spec(module) is None:
        return {}
    needed = getattr(importlib.import_module(module), "environment", None)
    return dict(needed(target)) if needed else {}


def _kernels(backend: str) -> tuple[Kernel, ...]:
    """KERNELS of `backends/<backend>.py`, empty where there is no such file."""
    module = f"{__name__}.{backend}"
    if not backend.isidentifier() or importlib.util.find_spec(module) is None:
        return ()
    declared: tuple[Kernel, ...] = getattr(importlib.import_module(module), "KERNELS", ())
    return declared
