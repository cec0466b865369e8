"""The command line and environment of an SGLang server: that of GLM's README, with every choice written out."""

from __future__ import annotations

import os
import sys

from glm_rocm.backends import emulation
from glm_rocm.engines.base import PLAN_VARIABLE, ServeOptions, cpus, kernel_environment, page_size
from glm_rocm.errors import EngineError
from glm_rocm.plan import Plan

LAUNCHER = "glm_rocm.engines.sglang.launcher"
PLUGIN = "glm_rocm"
"""Our name among SGLang's general plug-ins, as the entry point has it."""
PLATFORM = "glm_rocm_cpu"
"""Our name among its platform plug-ins."""
BACKEND = "glm_rocm"
"""The word of `--attention-backend` and `--moe-runner-backend`."""
KEY_VARIABLE = "GLM_ROCM_API_KEY"
"""How the key reaches the launcher: SGLang takes one from its command line alone, where anybody could read it."""


def command(plan: Plan, options: ServeOptions) -> list[str]:
    """The argv that serves the plan. No secret stands in it."""
    return [
        *(sys.executable, "-m", LAUNCHER, "--model-path", plan.model.path or plan.model.name),
        *("--served-model-name", options.served_name or plan.model.name),
        *("--host", options.host, "--port", str(options.port)),
        *("--tp-size", str(plan.tp)),
        *("--dtype", plan.dtype),
        *("--context-length", str(plan.context)),
        *("--max-running-requests", str(plan.max_seqs)),
        *("--tool-call-parser", tool_parser(plan)),
        *("--reasoning-parser", "glm45"),
        *_memory(plan),
        *_kernels(plan, options),
        *_speculation(plan),
        *options.extra,
    ]


def environment(plan: Plan, options: ServeOptions) -> dict[str, str]:
    """What to add to the server's environment. A folder asks no hub."""
    added: dict[str, str] = {}
    if options.plan_file:
        added[PLAN_VARIABLE] = options.plan_file
        allowed = os.environ.get("SGLANG_PLUGINS")
        if allowed and PLUGIN not in allowed.split(","):
            added["SGLANG_PLUGINS"] = f"{allowed},{PLUGIN}"
        if plan.target.vendor == "cpu":
            # Named, so that an SGLang which cannot load our platform says so instead of taking none.
            added |= {"SGLANG_PLATFORM": PLATFORM, "SGLANG_USE_CPU_ENGINE": "0"}
    if options.api_key:
        added[KEY_VARIABLE] = options.api_key
    if plan.model.path:
        added |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if plan.target.vendor == "cpu":
        # SGLang compiles its router and rotary embedding at the first request, a minute of C++ on two CPUs.
        added["TORCHDYNAMO_DISABLE"] = "1"
        added["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(max(1, cpus() - 1))
        if plan.mtp:
            # Small Triton kernels of SGLang's work out which cache slots drafts take; Triton compiles for no CPU.
            added["TRITON_INTERPRET"] = "1"
        if plan.disaggregation:
            added["SGLANG_HOST_IP"] = "127.0.0.1"  # else the KV cache travels by an address that others reach
    if plan.disaggregation:
        added["NO_COLOR"] = "1"  # the router colours its log, in a file as well
    return added | kernel_environment(plan) | emulation.environment(plan.emulate)


def tool_parser(plan: Plan) -> str:
    """SGLang's name for the model's layout of tool calls: `glm` is what GLM's README of 2025 calls `glm45`."""
    return {"glm45": "glm"}.get(plan.model.tool_parser, plan.model.tool_parser)


def _memory(plan: Plan) -> list[str]:
    flags = ["--mem-fraction-static", str(plan.memory_fraction)]
    if plan.kv_dtype != plan.dtype:
        flags += ["--kv-cache-dtype", "fp8_e4m3"]
    page = page_size(plan)
    if page:
        flags += ["--page-size", str(page)]
    if plan.target.vendor == "cpu" and page:
        # Exact, where a share of host memory would be taken from what the machine needs for itself; whole pages, and
        # one more per request for the last one begun.
        tokens = min(plan.fit.kv_tokens, plan.context * plan.max_seqs) + plan.max_seqs * page
        flags += ["--max-total-tokens", str(-(-tokens // page) * page)]
    if plan.cpu_offload_gib:
        flags += ["--cpu-offload-gb", str(plan.cpu_offload_gib)]
    return flags


def _kernels(plan: Plan, options: ServeOptions) -> list[str]:
    """Which attention and experts; no captured graphs, since our attention reads lengths on the host.

    The plan counts the routed experts alone, so the shared one stays a linear of its own.
    """
    flags = ["--disable-shared-experts-fusion"]
    if options.plan_file:
        flags += ["--attention-backend", BACKEND, "--moe-runner-backend", BACKEND]
        flags += ["--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"]
    if plan.target.vendor == "cpu":
        flags += ["--device", "cpu"]
    return flags


def _speculation(plan: Plan) -> list[str]:
    """EAGLE as GLM's README has it: a chain of drafts, and the token that begins it is verified with them."""
    if not plan.mtp:
        return []
    if plan.emulate not in ("", emulation.INTERPRET):
        raise EngineError(
            f"`--mtp {plan.mtp}` and `--emulate {plan.emulate}` through SGLang",
            required="one of them: SGLang drafts by Triton kernels of its own, which run in the interpreter here",
            hint="`--emulate interpret`, or `--engine vllm`",
        )
    return [
        *("--speculative-algorithm", "EAGLE", "--speculative-num-steps", str(plan.mtp)),
        *("--speculative-eagle-topk", "1", "--speculative-num-draft-tokens", str(plan.mtp + 1)),
    ]
