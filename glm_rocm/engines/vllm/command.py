"""The command line and environment of a vLLM server: that of GLM's README, with every choice written out."""

from __future__ import annotations

import json
import os
import sys

from glm_rocm.backends import emulation
from glm_rocm.engines.base import PLAN_VARIABLE, ServeOptions, cpus, kernel_environment, page_size
from glm_rocm.plan import Plan

LAUNCHER = "glm_rocm.engines.vllm.launcher"
PLUGIN = "glm_rocm"
"""Our name among vLLM's plug-ins, as the entry point has it."""

SMALL_MACHINE = 16
"""Up to this many CPUs a server runs scheduler and model in one process: see `_cpu_environment`."""


def command(plan: Plan, options: ServeOptions) -> list[str]:
    """The argv that serves the plan. No secret stands in it."""
    return [
        *(sys.executable, "-m", LAUNCHER, "serve", plan.model.path or plan.model.name),
        *("--served-model-name", options.served_name or plan.model.name),
        *("--host", options.host, "--port", str(options.port)),
        *("--shutdown-timeout", str(options.drain_s)),
        *("--tensor-parallel-size", str(plan.tp)),
        *("--dtype", plan.dtype),
        *("--max-model-len", str(plan.context)),
        *("--max-num-seqs", str(plan.max_seqs)),
        *("--enable-auto-tool-choice", "--tool-call-parser", plan.model.tool_parser),
        *("--reasoning-parser", "glm45"),
        *_memory(plan),
        *_kernels(plan, options),
        *_speculation(plan),
        *options.extra,
    ]


def environment(plan: Plan, options: ServeOptions) -> dict[str, str]:
    """What to add to the server's environment. No usage statistics leave the machine, and a folder asks no hub."""
    added = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if options.plan_file:
        added[PLAN_VARIABLE] = options.plan_file
        allowed = os.environ.get("VLLM_PLUGINS")
        if allowed is not None and PLUGIN not in allowed.split(","):
            added["VLLM_PLUGINS"] = f"{allowed},{PLUGIN}"
    if options.api_key:
        added["VLLM_API_KEY"] = options.api_key
    if plan.model.path:
        added |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if plan.target.vendor == "cpu":
        added |= _cpu_environment(plan)
    return added | kernel_environment(plan) | emulation.environment(plan.emulate)


def _memory(plan: Plan) -> list[str]:
    flags = []
    if plan.kv_dtype != plan.dtype:
        flags += ["--kv-cache-dtype", "fp8"]
    page = page_size(plan)
    if page:
        flags += ["--block-size", str(page)]
    if plan.target.vendor == "cpu":
        # Exact, where vLLM's default share of host memory would be taken from what the machine needs for itself. One
        # page more per request for the last one begun, and one that vLLM keeps empty.
        spare = (plan.max_seqs + 1) * page * plan.fit.kv_per_token
        flags += ["--kv-cache-memory-bytes", str(plan.kv_bytes + spare)]
    else:
        flags += ["--gpu-memory-utilization", str(plan.memory_fraction)]
    if plan.cpu_offload_gib:
        flags += ["--cpu-offload-gb", str(plan.cpu_offload_gib)]
    return flags


def _kernels(plan: Plan, options: ServeOptions) -> list[str]:
    """Which attention, and whether vLLM may compile or capture the model."""
    flags = []
    if options.plan_file and plan.target.vendor != "cpu":
        flags += ["--attention-backend", "CUSTOM"]
    on_cpu = plan.target.vendor == "cpu"
    torch_kernels = any(selection.chosen.name.startswith("cpu.") for selection in plan.selections)
    if on_cpu or torch_kernels:
        # On a CPU, compiling costs about two minutes at start and gains little; on a GPU, the torch kernels read
        # lengths on the host, which a captured graph cannot.
        flags += ["--enforce-eager"]
    return flags


def _speculation(plan: Plan) -> list[str]:
    if not plan.mtp:
        return []
    config = {"method": "mtp", "num_speculative_tokens": plan.mtp}
    return ["--speculative-config", json.dumps(config, separators=(",", ":"))]


def _cpu_environment(plan: Plan) -> dict[str, str]:
    """One process less and one thread less than vLLM's default, on a small machine with one rank.

    By default vLLM's CPU worker is a process of its own, which costs another import of vLLM (9 s of CPU time), 0.6 GB
    and a hop per step; with VLLM_ENABLE_V1_MULTIPROCESSING=0 the engine process holds it. vLLM then binds no threads,
    so their number is set here: as many as it would bind, one CPU being left to the API server. OpenMP threads that
    spin on a CPU somebody else is using cost more than they bring.
    """
    available = cpus()
    if plan.tp > 1 or available > SMALL_MACHINE:
        return {}
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, available - 1))
    return {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": threads}
