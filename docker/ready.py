#!/usr/bin/env python3
"""Exit status 0 when the server in this container answers a completion: the image's health check and probe.

The first time, a completion of one token is asked for; after that it is enough that the engine says it is well, so that
a health check takes nothing from a busy server. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 12
ANSWERED = Path(tempfile.gettempdir()) / "glm-rocm-answered"
"""Left when a completion has succeeded, holding the start of process 1: a restarted container asks again."""


def main() -> int:
    """0 when ready; else 1, with the reason on stderr."""
    url = f"http://127.0.0.1:{os.environ.get('GLM_ROCM_PORT', '8000')}"
    try:
        if _answered() == _started():
            _get(f"{url}/health")
            return 0
        model = json.loads(_get(f"{url}/v1/models"))["data"][0]["id"]
        _get(f"{url}/v1/completions", {"model": model, "prompt": "1", "max_tokens": 1})
        ANSWERED.write_text(_started(), encoding="utf-8")
    except (OSError, ValueError, LookupError) as error:
        print(f"error: not ready: {error}", file=sys.stderr)
        return 1
    return 0


def _get(url: str, body: dict[str, Any] | None = None) -> bytes:
    headers = {"Content-Type": "application/json"}
    key = os.environ.get("GLM_ROCM_API_KEY") or os.environ.get("VLLM_API_KEY")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        content: bytes = response.read()
    return content


def _answered() -> str | None:
    return ANSWERED.read_text(encoding="utf-8") if ANSWERED.exists() else None


def _started() -> str:
    """When process 1 started, in the kernel's ticks since the machine did."""
    return Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]


if __name__ == "__main__":
    sys.exit(main())
