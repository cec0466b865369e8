"""The kernels that `glm_rocm` means inside transformers: those of the plan that was installed last in this process.

Importing this imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from glm_rocm.errors import PlanError

NAME = "glm_rocm"
"""What our attention, experts and FP8 quantiser are called in transformers' registries."""

OPS = ("attention", "moe.experts", "linear")
"""What transformers hands to our kernels."""

_kernels: dict[str, Callable[..., Any]] = {}


def kernel(op: str) -> Callable[..., Any]:
    """The function that runs `op`.

    Raises:
        PlanError: no plan is installed, or it has no kernel for the op.
    """
    try:
        return _kernels[op]
    except KeyError:
        raise PlanError(
            f"no kernel is installed for op `{op}`",
            required="a plan made for engine `transformers`",
            hint="call `glm_rocm.engines.transformers.install.install(plan)` first",
        ) from None


def use(kernels: Mapping[str, Callable[..., Any]]) -> None:
    """Let these serve every model from now on."""
    _kernels.clear()
    _kernels.update(kernels)
