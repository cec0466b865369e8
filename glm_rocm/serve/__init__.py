"""Run an engine as a supervised child. Nothing here prints: what happens is handed to a callback as an event."""

from glm_rocm.serve.endpoint import Endpoint
from glm_rocm.serve.events import Event, Line, Phase, Ready, Started, Stopped, Stopping
from glm_rocm.serve.launch import Launch, Limits, check_port, leader_command
from glm_rocm.serve.supervisor import Supervisor

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
    "leader_command",
]
