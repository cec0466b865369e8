"""The server level: what a running server thinks of each prompt token, beside the reference on the same tokens.

A difference is traced to where it lies: if our kernels, run here, agree with the reference, it is not theirs; if a
server without the plug-in is off as well, it is the engine's or the checkpoint's, else the plug-in's.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from glm_rocm.errors import EngineError, UsageError
from glm_rocm.model.spec import ModelSpec
from glm_rocm.validate.layer import Stage
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.model import BASE, Runner, Variant
from glm_rocm.validate.results import Case, Check, check
from glm_rocm.validate.text import Packed
from glm_rocm.validate.trial import NAN

TIMEOUT = 300.0
TOKEN_ID = "token_id:"
"""How vLLM writes a token's id where `return_tokens_as_token_ids` asks for it."""


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server.

    Attributes:
        url: `http://host:port`, with or without `/v1`.
        stock_url: the same checkpoint served without the plug-in; empty: there is none.
        api_key: asked of requests.
    """

    url: str
    stock_url: str = ""
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Echo:
    """A prompt's log-probabilities from its second token on, and the best guess of each (-1: not told)."""

    logprobs: tuple[float, ...]
    best: tuple[int, ...]


def server_cases(
    spec: ModelSpec, machine: Machine, packed: Packed, kernels: Mapping[str, Stage], server: Server
) -> Iterator[Case]:
    """The server against the reference, and where a difference lies."""
    begun = time.monotonic()
    quant = spec.quantization.scheme != "none"
    chosen = Variant(BASE, weights=quant, activations=quant)
    exact = Runner(spec, machine, packed, {}, (chosen,))
    ours = Runner(spec, machine, packed, kernels, (chosen,))
    figures = []
    for runner in (exact, ours):
        runner.hidden(lambda words: None)
        figures.append(runner.figures(lambda words: None)[BASE])
    served = echoes(server.url, server.api_key, packed)
    own = compare(figures[1].logprob, figures[1].best, figures[0].logprob, figures[0].best, packed)
    plugged = compare(*served, figures[0].logprob, figures[0].best, packed)
    stock = compare(*echoes(server.stock_url, server.api_key, packed), figures[0].logprob, figures[0].best, packed) \
        if server.stock_url else ()  # fmt: skip
    note = verdict(own, plugged, stock)
    took = round(time.monotonic() - begun, 3)
    for op, found in (("kernels", own), ("server", plugged), ("stock server", stock)):
        if found:
            yield Case(
                "server", op, server.url if op == "server" else machine.name, "prompt logprobs", spec.name,
                len(packed.tokens), tuple(found), evidence="hardware" if "server" in op else machine.evidence,
                seconds=took if op == "server" else 0.0, notes=(note,) if op == "server" else (),
            )  # fmt: skip


def compare(logprob: Tensor, best: Tensor, want: Tensor, want_best: Tensor, packed: Packed) -> tuple[Check, ...]:
    """Log-probabilities of the same tokens, and the best guesses where both are known."""
    rows = ~packed.last
    off = (logprob - want)[rows].abs()
    known = rows & (best >= 0)
    checks = [
        check("server.logprob", float(off.mean())),
        check("server.logprob_max", float(off.max()), where=f"row {int(off.argmax())}"),
    ]
    if bool(known.any()):
        checks.append(check("server.top1", float((best == want_best)[known].double().mean())))
    return tuple(checks)


def verdict(own: tuple[Check, ...], plugged: tuple[Check, ...], stock: tuple[Check, ...]) -> str:
    """In which part a difference lies."""
    kernels, server, engine = (all(one.passed for one in checks) for checks in (own, plugged, stock))
    if not kernels:
        return "our kernels, run here, differ from the reference: see the levels `ops` and `block`"
    if server:
        return "the server agrees with the reference"
    if not stock:
        return "our kernels agree with the reference here: the difference lies in the engine or the plug-in"
    if engine:
        return "the same engine without the plug-in agrees: the difference lies in the plug-in"
    return "the same engine without the plug-in differs as well: the difference lies in the engine or its checkpoint"


def echoes(url: str, api_key: str | None, packed: Packed) -> tuple[Tensor, Tensor]:
    """Every row's log-probability of its next token, `[T]`, NaN at a sequence's last; and the best guess, `[T]`."""
    logprobs, best = [], []
    for one in packed.sequences:
        echo = ask(url, api_key, list(one.tokens))
        logprobs += [*echo.logprobs, NAN]
        best += [*echo.best, -1]
    return torch.tensor(logprobs, dtype=torch.float64), torch.tensor(best)


def ask(url: str, api_key: str | None, tokens: list[int]) -> Echo:
    """A prompt echoed with its log-probabilities.

    Raises:
        UsageError: the address is none.
        EngineError: no answer, or one without them.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"`--url {url}`", required="an address as in `http://127.0.0.1:8000`")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    path = parts.path.rstrip("/").removesuffix("/v1") + "/v1/"
    try:
        connection.request("GET", f"{path}models", headers=headers)
        name = json.loads(connection.getresponse().read())["data"][0]["id"]
        body = {
            "model": name, "prompt": tokens, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1,
            "return_tokens_as_token_ids": True,
        }  # fmt: skip
        connection.request("POST", f"{path}completions", json.dumps(body), headers)
        record = json.loads(connection.getresponse().read())
        return read_echo(record["choices"][0]["logprobs"], len(tokens))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise EngineError(
            f"`{url}` gave no log-probabilities of a prompt ({type(error).__name__})",
            required="a server whose `/v1/completions` takes `echo` and `logprobs`",
            hint="glm-rocm serve pocket, then `--url http://127.0.0.1:8000`",
        ) from error
    finally:
        connection.close()


def read_echo(logprobs: Mapping[str, Any], count: int) -> Echo:
    """The prompt's part of an answer's `logprobs`."""
    values = tuple(float(value) for value in logprobs["token_logprobs"][1:count])
    if len(values) != count - 1:
        raise ValueError("fewer log-probabilities than tokens")
    best = []
    for entry in logprobs["top_logprobs"][1:count]:
        word = max(entry, key=entry.get) if entry else ""
        best.append(int(word.removeprefix(TOKEN_ID)) if word.startswith(TOKEN_ID) else -1)
    return Echo(values, tuple(best))
