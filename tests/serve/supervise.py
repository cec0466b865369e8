"""Supervise one command and print each event as a line of JSON: what the tests send their signals to."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from glm_rocm.errors import GlmRocmError
from glm_rocm.serve import Event, Launch, Limits, Supervisor
from glm_rocm.serve.endpoint import Endpoint


def show(event: Event) -> None:
    print(json.dumps({"event": type(event).__name__, **vars(event)}, default=str), flush=True)


order = json.loads(sys.argv[1])
key = order.get("api_key")
launch = Launch(
    engine="fake",
    command=order["command"],
    environment={**os.environ, **({"VLLM_API_KEY": key} if key else {})},
    endpoint=Endpoint("127.0.0.1", order["port"], "pocket-glm", order.get("sent_key", key)),
    log=Path(order["log"]),
    phases=[("loading weights", "load"), ("warming up", "warm-up")],
    workers=order.get("workers", 0),
    limits=Limits(**order["limits"]),
)
try:
    Supervisor(launch, show).run()
except GlmRocmError as error:
    print(error.render(), file=sys.stderr)
    sys.exit(error.exit_code)
