"""Prefill and decode on SGLang servers of their own behind sglang_router: the three commands of GLM's README as one.

    client -> router -> prefill server --KV cache--> decode server -> router -> client

Every server runs the plan on its own devices, counted from `--base-gpu-id`. The cache travels by mooncake: over RDMA
between GPUs (`--disaggregation-ib-device` names the card, as in the README), over loopback TCP on a CPU.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace

from glm_rocm.engines.base import Member, ServeOptions
from glm_rocm.engines.sglang import command
from glm_rocm.errors import EngineError, PlanError, UsageError
from glm_rocm.plan import Plan

LOOPBACK = "127.0.0.1"
ROUTER = ("sglang-router", "==0.3.2")
"""The router's distribution, and the version whose flags these are."""
ROUTER_LAUNCHER = "glm_rocm.engines.sglang.router"
TRANSFER = "mooncake"
"""The package that moves the cache; its distributions are `mooncake-transfer-engine` and vendors' builds of it."""
VERBS = "libibverbs.so.1"
"""What mooncake links to, whether it moves anything over InfiniBand or not."""
OURS = (
    "--disaggregation-mode",
    "--disaggregation-bootstrap-port",
    "--disaggregation-transfer-backend",
    "--base-gpu-id",
)
"""Flags that differ between the servers, so that nobody can give one for all."""


def members(plan: Plan, options: ServeOptions) -> tuple[Member, ...]:
    """The prefill servers, the decode servers and the router; see `engines.base.Disaggregating`.

    The router has `options.port`; the servers, the prefill servers' bootstrap and the router's metrics have the ports
    behind it, on this machine's loopback.
    """
    split = plan.disaggregation
    if split is None:
        raise PlanError("the plan has one server", required="a disaggregated one", hint="add `--disaggregate`")
    _refuse_ours(options.extra)
    ports = _ports(options.port, split.prefill + split.servers + 1)
    servers: list[Member] = []
    router: list[str] = []
    for number in range(split.servers):
        is_prefill = number < split.prefill
        role, position = ("prefill", number) if is_prefill else ("decode", number - split.prefill)
        alone = (split.prefill if is_prefill else split.decode) == 1
        port = next(ports)
        listens = [port]
        words = ["--disaggregation-mode", role]
        if plan.target.vendor != "cpu":
            words += ["--base-gpu-id", str(split.first_device(number, plan.tp))]
        router += [f"--{role}", f"http://{LOOPBACK}:{port}"]
        if is_prefill:
            listens.append(next(ports))
            words += ["--disaggregation-bootstrap-port", str(listens[-1])]
            router.append(str(listens[-1]))
        own = replace(options, host=LOOPBACK, port=port)
        argv = (*command.command(plan, own), *words, *_transfer(plan, role))
        name = role if alone else f"{role} {position}"
        servers.append(Member(name, argv, tuple((LOOPBACK, number) for number in listens)))
    return (*servers, _router(options, router, next(ports)))


def check(vendor: str) -> None:
    """Whether the router and what moves the cache are installed.

    Raises:
        EngineError: one is not.
    """
    name, version = ROUTER
    cure = "pip install 'glm-rocm[sglang-cpu]'" if vendor == "cpu" else f"pip install {name}{version}"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise EngineError(f"`{name}` is not installed", required=f"{name} {version}", hint=cure) from None
    if found != version.removeprefix("=="):
        raise EngineError(f"`{name}` is of version {found}", required=f"{name} {version}", hint=cure)
    if importlib.util.find_spec(TRANSFER) is None:
        build = {"cpu": "-non-cuda", "rocm": "-rocm"}.get(vendor, "")
        raise EngineError(
            f"`{TRANSFER}` is not installed",
            required="it, to move the KV cache from the prefill to the decode server",
            hint=f"pip install mooncake-transfer-engine{build}",
        )
    try:
        ctypes.CDLL(VERBS)
    except OSError:
        raise EngineError(
            f"`{VERBS}` is not on this machine",
            required=f"the library that `{TRANSFER}` is linked to",
            hint="apt-get install libibverbs1 librdmacm1",
        ) from None


def _ports(first: int, count: int) -> Iterator[int]:
    """The `count` ports behind `first`.

    Raises:
        UsageError: there are fewer.
    """
    if first + count > 65535:
        raise UsageError(
            f"port `{first}`, and {count} more behind it",
            required="all of them below 65536",
            hint=f"add `--port {65535 - count}`",
        )
    return iter(range(first + 1, first + 1 + count))


def _refuse_ours(extra: tuple[str, ...]) -> None:
    for word in extra:
        flag = word.partition("=")[0]
        if flag in OURS:
            raise UsageError(
                f"`{flag}` with `--disaggregate`",
                required="each server's own, which the group knows",
                hint=f"drop `{flag}`",
            )


def _transfer(plan: Plan, role: str) -> tuple[str, ...]:
    """How the cache travels. Mooncake's default, RDMA, needs no word; a CPU moves it over TCP."""
    if plan.target.vendor != "cpu":
        return ()
    words = ("--disaggregation-transfer-backend", "mooncake_tcp")
    # What a decode server sets aside when its cache is full goes to pinned memory by default, and a CPU has none.
    return (*words, "--disaggregation-decode-retraction-backup", "cpu_tensor") if role == "decode" else words


def _router(options: ServeOptions, servers: list[str], metrics: int) -> Member:
    argv = (
        *(sys.executable, "-m", ROUTER_LAUNCHER, "--pd-disaggregation"),
        *("--host", options.host, "--port", str(options.port)),
        *servers,
        *("--log-level", "warn", "--policy", "round_robin", "--shutdown-grace-period-secs", str(options.drain_s)),
        *("--prometheus-host", LOOPBACK, "--prometheus-port", str(metrics)),
    )
    return Member("router", argv, ((options.host, options.port), (LOOPBACK, metrics)))
