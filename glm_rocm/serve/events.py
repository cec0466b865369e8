"""What a supervisor reports while an engine starts, serves and stops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Started:
    pid: int
    log: Path


@dataclass(frozen=True)
class Line:
    """One line of the engine's output."""

    text: str


@dataclass(frozen=True)
class Phase:
    """The engine began something new, `seconds` after its start."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Ready:
    """A completion request succeeded, `seconds` after the start."""

    seconds: float


@dataclass(frozen=True)
class Stopping:
    """A stop was asked for by the named signal; requests in flight get `seconds`."""

    signal: str
    seconds: float


@dataclass(frozen=True)
class Stopped:
    seconds: float


Event = Started | Line | Phase | Ready | Stopping | Stopped
