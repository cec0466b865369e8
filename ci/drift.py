"""Hold the hooks of an engine's plug-in against the engine that this interpreter has; name each that moved.

    python ci/drift.py ENGINE DISTRIBUTION

Run by ci/drift.sh in a scratch environment. Exit code 1 where a hook moved.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from glm_rocm.engines import get_engine
from glm_rocm.engines.hook import Hook


def moved(hook: Hook) -> str:
    """How the place differs from what the plug-in needs; empty where it does not."""
    where = f"{hook.dotted}, where the plug-in would {hook.purpose}"
    try:
        contract = hook.check()
    except Exception as error:  # whatever an engine's modules raise when its libraries are not those it wants
        return f"cannot be looked at: {where}\n  {type(error).__name__}: {error}"
    if contract.holds:
        return ""
    found = contract.found
    try:
        hook.resolve()
    except (ImportError, AttributeError) as error:
        found = f"{found} ({type(error).__name__}: {error})"
    return f"moved: {where}\n  required {contract.required}\n  found {found}"


def main() -> int:
    engine, distribution = sys.argv[1:]
    version = importlib.metadata.version(distribution)
    hooks: tuple[Hook, ...] = importlib.import_module(f"glm_rocm.engines.{engine}.hooks").HOOKS
    troubles = [told for hook in hooks if (told := moved(hook))]
    good = f"{len(hooks) - len(troubles)} of {len(hooks)} hooks hold"
    print(f"{distribution} {version}, plug-in made for {get_engine(engine).supported}: {good}")
    print(*troubles, sep="\n")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
