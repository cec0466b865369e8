"""Run an engine as a supervised child. Nothing here prints: what happens is handed to a callback as an event."""

from glm_rocm.serve.endpoint import Endpoint
from glm_rocm.serve.supervisor import (
    Event,
    Launch,
    Limits,
    Line,
    Phase,
    Ready,
    Started,
    Stopped,
    Stopping,
    Supervisor,
    check_port,
)

__all__ = [
    "Endpoint",
    "Event",
    "Launch",
    "Limits",
    "Line",
    "Phase",
    "Ready",
    "Started",
    "Stopped",
    "Stopping",
    "Supervisor",
    "check_port",
]
