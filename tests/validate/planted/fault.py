"""What a planted fault is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Run = Callable[..., Any]


@dataclass(frozen=True)
class Fault:
    """One bug.

    Attributes:
        name: what is wrong, in words.
        source: whose bug it was: issue numbers of the field, or `class` where many had it.
        where: the op or the stage of a layer that must be named.
        plant: the sound function -> the faulty one.
        sizes: the values of M to run, where the bug shows at few only.
    """

    name: str
    source: str
    where: str
    plant: Callable[[Run], Run]
    sizes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.name}"


def on_result(change: Callable[..., Any]) -> Callable[[Run], Run]:
    """A fault of the result: `change(result, *arguments)`."""

    def plant(run: Run) -> Run:
        def faulty(*arguments: Any, **options: Any) -> Any:
            return change(run(*arguments, **options), *arguments)

        return faulty

    return plant


def on_options(**changes: Callable[[Any], Any]) -> Callable[[Run], Run]:
    """A fault of options: each that is given and not None is changed."""

    def plant(run: Run) -> Run:
        def faulty(*arguments: Any, **options: Any) -> Any:
            for name, change in changes.items():
                if options.get(name) is not None:
                    options[name] = change(options[name])
            return run(*arguments, **options)

        return faulty

    return plant


def on_arguments(change: Callable[..., tuple[Any, ...]]) -> Callable[[Run], Run]:
    """A fault of the positional arguments: `change(*arguments)` gives those that are really used."""

    def plant(run: Run) -> Run:
        def faulty(*arguments: Any, **options: Any) -> Any:
            return run(*change(*arguments), **options)

        return faulty

    return plant
