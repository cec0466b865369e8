"""A place of somebody else's library that a plug-in stands on, as data that can be held against what is installed."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

from glm_rocm.engines.base import Contract


@dataclass(frozen=True)
class Hook:
    """A place in a library.

    Attributes:
        path: `module:attribute`.
        purpose: what the plug-in does there.
        parameters: for a callable, its leading parameters in order; None where only `members` count.
        members: attributes it must have.
    """

    path: str
    purpose: str
    parameters: tuple[str, ...] | None = None
    members: tuple[str, ...] = ()

    @property
    def dotted(self) -> str:
        """The path as a person writes it."""
        return self.path.replace(":", ".")

    def resolve(self) -> Any:
        """What stands at the path in the installed library.

        Raises:
            ImportError, AttributeError: nothing stands there.
        """
        module, _, attributes = self.path.partition(":")
        found: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
        return found

    def replace(self, value: Any) -> None:
        """Put `value` at the path; it is a module's attribute."""
        module, _, attribute = self.path.partition(":")
        setattr(importlib.import_module(module), attribute, value)

    def check(self) -> Contract:
        """The place held against what it must have."""
        required = _describe(self.parameters, self.members)
        try:
            found = self.resolve()
        except (ImportError, AttributeError):
            return Contract(self.dotted, self.purpose, required, "missing", holds=False)
        parameters = tuple(inspect.signature(found).parameters) if self.parameters is not None else None
        missing = tuple(member for member in self.members if not hasattr(found, member))
        holds = not missing and (parameters is None or parameters[: len(self.parameters or ())] == self.parameters)
        present = tuple(member for member in self.members if member not in missing)
        return Contract(self.dotted, self.purpose, required, _describe(parameters, present), holds=holds)


def _describe(parameters: tuple[str, ...] | None, members: tuple[str, ...]) -> str:
    parts = [] if parameters is None else [f"({', '.join(parameters)})"]
    if members:
        parts.append(", ".join(members))
    return "; ".join(parts)
