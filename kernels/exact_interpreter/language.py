"""Triton's language is turned into its interpreted form once a launch, not once for each call of a device function.

The stock interpreter inspects every member of the language whenever one kernel calls another, which takes most of a
launch's time, and never takes back what such a call changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import triton.language as tl
import triton.runtime.interpreter as interpreter

_installed = False
_scopes: list[Any] = []
_patched: set[str] = set()


def install() -> None:
    """Patch once."""
    global _installed
    if not _installed:
        _installed = True
        interpreter._patch_lang = _once_a_launch(interpreter._patch_lang)


def _once_a_launch(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def _patch_lang(function: Any) -> Any:
        """The scope of a launch restores all that was changed during it; within, most functions change nothing."""
        modules = {value.__name__ for value in function.__globals__.values() if value is tl or value is tl.core}
        if modules and modules <= _patched:
            return interpreter._LangPatchScope()
        scope = original(function)
        outermost = not _scopes
        _scopes.append(scope)
        _patched.update(modules)
        return _Launch() if outermost else scope

    return _patch_lang


class _Launch:
    """The outermost scope of a launch."""

    def restore(self) -> None:
        """Take everything back, the last change first."""
        while _scopes:
            _scopes.pop().restore()
        _patched.clear()
