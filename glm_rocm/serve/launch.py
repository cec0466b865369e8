"""One start of an engine: what it needs, how long it may take, and whether its port is free."""

from __future__ import annotations

import errno
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glm_rocm.errors import UsageError
from glm_rocm.serve.endpoint import Endpoint


@dataclass(frozen=True)
class Limits:
    """Seconds. `start`: until the first completion succeeds (weights of 700 GB from a cold disk take a while); `drain`:
    for requests in flight after SIGTERM; `grace`: for the engine to take itself down before SIGKILL; `probe`: for one
    readiness request."""

    start: float = 3600.0
    drain: float = 30.0
    grace: float = 15.0
    probe: float = 120.0


@dataclass(frozen=True)
class Launch:
    """All that one start of an engine needs.

    Attributes:
        engine: its name, for messages.
        command: the argv.
        environment: the child's whole environment; an API key travels here, never in the argv.
        endpoint: where it will answer, and as which model.
        log: the file that gets every line of its output.
        phases: (text in a log line, what the engine then does), in order of appearance.
        workers: servers behind the endpoint where that is a router; it is asked nothing before it counts as many.
    """

    engine: str
    command: Sequence[str]
    environment: Mapping[str, str]
    endpoint: Endpoint
    log: Path
    phases: Sequence[tuple[str, str]] = ()
    workers: int = 0
    limits: Limits = Limits()


def leader_command(members: Sequence[tuple[str, Sequence[str]]], drain: float) -> list[str]:
    """The argv of the process that leads several which serve as one (`serve.group`).

    Args:
        members: name and argv of each, the router last.
        drain: seconds that the router gets to answer what is in flight.
    """
    listed = json.dumps([[name, list(command)] for name, command in members])
    return [sys.executable, "-m", "glm_rocm.serve.group", str(drain), listed]


def check_port(host: str, port: int) -> None:
    """Whether an engine could listen there.

    Raises:
        UsageError: the port is taken, needs privileges, or the host is not this machine's.
    """
    try:
        if not 0 < port < 65536:
            raise OverflowError("no such port")  # getaddrinfo would take it modulo 65536
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        code = getattr(error, "errno", None)
        if code == errno.EADDRINUSE:
            raise UsageError(
                f"port `{port}` on `{host}` is taken", required="a free port", hint=f"add `--port {_free_port()}`"
            ) from None
        if code == errno.EACCES:
            raise UsageError(
                f"port `{port}` needs privileges", required="a port from 1024 on", hint="add `--port 8000`"
            ) from None
        raise UsageError(
            f"cannot listen on `{host}:{port}` ({getattr(error, 'strerror', None) or error})",
            required="an address of this machine and a port below 65536",
            hint="use `--host 127.0.0.1` for this machine alone or `--host 0.0.0.0` for all its addresses",
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
