"""`python -m glm_rocm.engines.sglang.launcher ...`: SGLang's own command line, checked first.

SGLang logs a plug-in that fails and goes on without it. Here all that can be said against the plan is said before the
server starts, as one `error:` line. Each process that SGLang spawns imports this module again, before anything else.
"""

from __future__ import annotations

import os
import sys

from glm_rocm.engines.base import PLAN_VARIABLE
from glm_rocm.engines.checks import refuse_hidden_plugin
from glm_rocm.engines.sglang import register, torchvision
from glm_rocm.engines.sglang.command import KEY_VARIABLE, PLATFORM, PLUGIN
from glm_rocm.engines.sglang.install import check_aiter, check_version
from glm_rocm.errors import GlmRocmError

ENTRY_POINTS = (("sglang.srt.plugins", PLUGIN), ("sglang.srt.platforms", PLATFORM))

torchvision.watch()


def main() -> int:
    """Run SGLang's server; what we refuse comes out as one `error:` line and its hint, with exit code 2."""
    try:
        if os.environ.get(PLAN_VARIABLE):
            check_plugin()
            register()
        serve(sys.argv[1:])
    except GlmRocmError as refusal:
        print(refusal.render(), file=sys.stderr)
        return refusal.exit_code
    return 0


def check_plugin() -> None:
    """All that can be said against serving the plan, before SGLang is imported.

    Raises:
        EngineError: SGLang's version, a variable that overrules the plan, or a plug-in that SGLang would not find: it
            looks for the entry points of an installed package, and without one would serve with its own kernels.
        PlanError: the plan cannot be read.
    """
    from glm_rocm.engines.active import active_plan

    check_version()
    plan = active_plan()
    if plan is not None:
        check_aiter(plan, os.environ)
    for group, name in ENTRY_POINTS:
        refuse_hidden_plugin(group, name, "SGLang")


def serve(arguments: list[str]) -> None:
    """What `python -m sglang.launch_server` does, with the API key out of the environment."""
    from sglang.launch_server import run_server
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    load_plugins()
    key = os.environ.get(KEY_VARIABLE)
    server_args = prepare_server_args([*arguments, *(["--api-key", key] if key else [])])
    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ == "__main__":  # SGLang spawns its processes, and each imports this module again
    sys.exit(main())
