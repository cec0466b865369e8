"""Put a plan's kernels into this process's transformers.

Importing this imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib.metadata

from glm_rocm import backends
from glm_rocm.backends import emulation
from glm_rocm.engines.transformers.active import NAME, OPS, use
from glm_rocm.errors import EngineError
from glm_rocm.plan import Plan

FIRST_VERSION = (5, 19)
NEXT_MAJOR = 6
SUPPORTED = f">={FIRST_VERSION[0]}.{FIRST_VERSION[1]},<{NEXT_MAJOR}"
"""5.19 is what the tests run; the registries are public, and each hook is checked before it is used."""


def install(plan: Plan) -> None:
    """Load the plan's kernels and register them. Re-entrant; the plan installed last serves every model.

    Raises:
        EngineError: transformers is absent, of another version, or its hooks are not as they must be.
    """
    check_version()
    from glm_rocm.engines.transformers import hooks

    broken = [contract for contract in (hook.check() for hook in hooks.HOOKS) if not contract.holds]
    if broken:
        raise EngineError(
            f"`{broken[0].hook}` of the installed transformers is `{broken[0].found}`",
            required=f"`{broken[0].required}`, as in transformers {SUPPORTED}",
            hint="pip install 'glm-rocm[transformers-cpu]'",
        )
    if plan.emulate:
        emulation.activate(plan.emulate)
    planned = {selection.problem.op for selection in plan.selections}
    use({op: backends.by_name(plan.chosen(op)).load() for op in OPS if op in planned})
    _register()


def check_version() -> None:
    """Refuse a transformers that is absent or outside `SUPPORTED`."""
    hint = "pip install 'glm-rocm[transformers-cpu]'"
    required = f"transformers {SUPPORTED}"
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        raise EngineError("transformers is not installed", required=required, hint=hint) from None
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < FIRST_VERSION or major >= NEXT_MAJOR:
        raise EngineError(f"transformers {version} is installed", required=required, hint=hint)


def _register() -> None:
    """Attention with its mask, experts, FP8. Re-entrant.

    The mask must be registered along with the attention: without it transformers passes no mask at all, and a padded
    batch is wrong in silence.
    """
    from glm_rocm.engines.transformers import attention, experts, hooks

    hooks.ATTENTION.resolve()(NAME, attention.attend)
    hooks.MASK.resolve()(NAME, attention.padding_mask)
    hooks.EXPERTS.resolve().register(NAME, experts.run_experts)
    from glm_rocm.engines.transformers import fp8  # registers itself once, when it is imported

    assert fp8.Fp8Config.quant_method == NAME
