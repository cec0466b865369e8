"""The SGLang engine: its command line, and the plug-ins that put our kernels into it.

`register` is named by the entry point `sglang.srt.plugins`, `platform` by `sglang.srt.platforms`. SGLang calls them in
each of its processes, also when it serves somebody else's model; then, without a plan, they do nothing.
"""

from __future__ import annotations

import os

from glm_rocm.engines.base import PLAN_VARIABLE
from glm_rocm.engines.sglang.engine import SglangEngine

ENGINE = SglangEngine()


def register() -> None:
    """Hook our kernels into this process's SGLang if `GLM_ROCM_PLAN` names a plan; else leave it untouched.

    Raises:
        EngineError: the installed SGLang is not one that the plug-in is made for, or its insides are not as expected.
        PlanError: the plan cannot be read.
    """
    if not os.environ.get(PLAN_VARIABLE):
        return
    from glm_rocm.engines.active import active_plan
    from glm_rocm.engines.sglang.install import install

    plan = active_plan()
    if plan is not None:
        install(plan)


def platform() -> str | None:
    """`module:class` of our CPU platform where the active plan's target is a CPU; None leaves SGLang to its own.

    Raises:
        PlanError: the plan cannot be read.
    """
    if not os.environ.get(PLAN_VARIABLE):
        return None
    from glm_rocm.engines.active import active_plan

    plan = active_plan()
    on_cpu = plan is not None and plan.target.vendor == "cpu"
    return "glm_rocm.engines.sglang.platform:GlmCpuPlatform" if on_cpu else None
