"""The vLLM engine: its command line, and the plug-in that puts our kernels into it.

`register` is named by the entry point `vllm.general_plugins`. vLLM calls it in each of its processes, also when it
serves somebody else's model; then, without a plan, it does nothing.
"""

from __future__ import annotations

import os

from glm_rocm.engines.base import PLAN_VARIABLE
from glm_rocm.engines.vllm.engine import VllmEngine

ENGINE = VllmEngine()


def register() -> None:
    """Hook our kernels into this process's vLLM if `GLM_ROCM_PLAN` names a plan; else leave it untouched.

    Raises:
        EngineError: the installed vLLM is not one that the plug-in is made for, or its insides are not as expected.
        PlanError: the plan cannot be read.
    """
    if not os.environ.get(PLAN_VARIABLE):
        return
    from glm_rocm.engines.active import active_plan
    from glm_rocm.engines.vllm.install import install

    plan = active_plan()
    if plan is not None:
        install(plan)
