"""Where a served model answers, and the one request that tells whether it does."""

from __future__ import annotations

import http.client
import json
import shlex
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server: the address it listens on, the name its model goes by, and the key it wants."""

    host: str
    port: int
    model: str
    api_key: str | None = field(default=None, repr=False)

    @property
    def reachable_host(self) -> str:
        """The host a client on this machine uses: a wildcard address is listened on, not connected to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def is_private(self) -> bool:
        """Nobody on another machine can use it: it listens on loopback alone, or wants a key."""
        return self.api_key is not None or self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def url(self) -> str:
        host = self.reachable_host
        return f"http://[{host}]:{self.port}/v1" if ":" in host else f"http://{host}:{self.port}/v1"

    def curl(self, question: str) -> str:
        """A command to paste. A key is named, not shown."""
        body = json.dumps({"model": self.model, "messages": [{"role": "user", "content": question}]})
        key = ' -H "Authorization: Bearer $GLM_ROCM_API_KEY"' if self.api_key else ""
        return (
            f'curl -s {self.url}/chat/completions -H "Content-Type: application/json"{key} \\\n  -d {shlex.quote(body)}'
        )


@dataclass(frozen=True)
class Answer:
    """A completion came back."""

    text: str


@dataclass(frozen=True)
class Refusal:
    """The server is up and says no, which waiting will not change."""

    reason: str


def healthy_workers(endpoint: Endpoint, *, timeout: float) -> int:
    """How many servers a router counts as ready to take requests; 0 while it does not answer."""
    connection = http.client.HTTPConnection(endpoint.reachable_host, endpoint.port, timeout=timeout)
    try:
        connection.request("GET", "/readiness")
        return int(json.loads(connection.getresponse().read())["healthy_workers"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return 0
    finally:
        connection.close()


def complete(endpoint: Endpoint, *, timeout: float) -> Answer | Refusal | None:
    """Ask for one token. None: not up yet, too busy, or failing in a way that may pass."""
    headers = {"Content-Type": "application/json"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    body = json.dumps({"model": endpoint.model, "prompt": "1", "max_tokens": 1, "temperature": 0})
    connection = http.client.HTTPConnection(endpoint.reachable_host, endpoint.port, timeout=timeout)
    try:
        connection.request("POST", "/v1/completions", body, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status == 200:
        return _answer(text)
    if 400 <= response.status < 500 and response.status not in (408, 429):
        return Refusal(f"HTTP {response.status}, `{_message(text)}`")
    return None


def _answer(text: str) -> Answer | Refusal:
    try:
        return Answer(json.loads(text)["choices"][0]["text"])
    except (ValueError, LookupError, TypeError):
        return Refusal(f"HTTP 200 without a completion, `{_message(text)}`")


def _message(text: str) -> str:
    """The server's own words, in one line of at most 200 characters."""
    try:
        body = json.loads(text)
        error = body.get("error", body)
        text = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        pass
    return " ".join(str(text).split())[:200]
