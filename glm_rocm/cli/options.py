"""The flags that commands share, declared once. Each may take its default from `GLM_ROCM_<FLAG>`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glm_rocm.errors import UsageError

_MODEL = "What to serve"
_SERVER = "Server"

Model = Annotated[
    str,
    typer.Argument(
        metavar="[MODEL]",
        help="Checkpoint folder, hub id (`zai-org/GLM-4.5-Air`), or `pocket`.",
        envvar="GLM_ROCM_MODEL",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        "--gpus",
        metavar="KIND:N",
        help="Accelerators, `mi300x:8`, `h100:4`, `cpu`; detected by default.",
        envvar="GLM_ROCM_TARGET",
        rich_help_panel=_MODEL,
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="`auto`: the first installed one.",
        envvar="GLM_ROCM_ENGINE",
        rich_help_panel=_MODEL,
    ),
]
Tp = Annotated[
    int | None,
    typer.Option(
        "--tp",
        min=1,
        metavar="N",
        help="Tensor parallelism; all devices by default.",
        envvar="GLM_ROCM_TP",
        rich_help_panel=_MODEL,
    ),
]
Mtp = Annotated[
    int,
    typer.Option(
        "--mtp",
        min=0,
        metavar="N",
        help="Tokens that the MTP layer drafts per step.",
        envvar="GLM_ROCM_MTP",
        rich_help_panel=_MODEL,
    ),
]
Fp8 = Annotated[
    str,
    typer.Option(
        "--fp8",
        metavar="SCHEME",
        help="`auto`: as the checkpoint is; `on`, `off`: it must be, must not be FP8.",
        envvar="GLM_ROCM_FP8",
        rich_help_panel=_MODEL,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="DTYPE",
        help="Activations: `auto` (as the checkpoint), `bfloat16`, `float16`, `float32`.",
        envvar="GLM_ROCM_DTYPE",
        rich_help_panel=_MODEL,
    ),
]
KvDtype = Annotated[
    str,
    typer.Option(
        "--kv-dtype",
        metavar="DTYPE",
        help="KV cache: `auto` (as the activations) or `fp8`.",
        envvar="GLM_ROCM_KV_DTYPE",
        rich_help_panel=_MODEL,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        min=1,
        metavar="N",
        help="Tokens per sequence; what model and memory allow by default.",
        envvar="GLM_ROCM_CONTEXT",
        rich_help_panel=_MODEL,
    ),
]
MaxSeqs = Annotated[
    int | None,
    typer.Option(
        "--max-seqs",
        min=1,
        metavar="N",
        help="Requests in flight; 256 by default, 16 on a CPU.",
        envvar="GLM_ROCM_MAX_SEQS",
        rich_help_panel=_MODEL,
    ),
]
Kernels = Annotated[
    list[str] | None,
    typer.Option(
        "--kernel",
        metavar="OP=NAME",
        help="Run an op by this kernel or fail; see `glm-rocm backends`. Repeatable.",
        rich_help_panel=_MODEL,
    ),
]
Emulate = Annotated[
    str,
    typer.Option(
        "--emulate",
        metavar="CARD",
        help="Run our kernels as the machine code of `gfx942` or `gfx950`, or by Triton's interpreter (`interpret`).",
        envvar="GLM_ROCM_EMULATE",
        rich_help_panel=_MODEL,
    ),
]
Disaggregate = Annotated[
    str | None,
    typer.Option(
        "--disaggregate",
        metavar="prefill=N,decode=N",
        help="Prefill and decode on servers of their own behind a router; SGLang only.",
        envvar="GLM_ROCM_DISAGGREGATE",
        rich_help_panel=_MODEL,
    ),
]
MemoryShare = Annotated[
    float | None,
    typer.Option(
        "--gpu-memory-utilization",
        min=0.05,
        max=1.0,
        metavar="X",
        help="Share of a device's memory to use.",
        envvar="GLM_ROCM_GPU_MEMORY_UTILIZATION",
        rich_help_panel=_MODEL,
    ),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe/--no-probe",
        help="Run each kernel for a moment, in a process of its own, before it is chosen.",
        envvar="GLM_ROCM_PROBE",
        rich_help_panel=_MODEL,
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host", help="Address to listen on; `0.0.0.0` for all.", envvar="GLM_ROCM_HOST", rich_help_panel=_SERVER
    ),
]
Port = Annotated[int, typer.Option("--port", help="TCP port.", envvar="GLM_ROCM_PORT", rich_help_panel=_SERVER)]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        help="Asked of every request. Better by the variable: a flag can be read in the process list.",
        envvar=["GLM_ROCM_API_KEY", "VLLM_API_KEY"],
        show_envvar=True,
        rich_help_panel=_SERVER,
    ),
]
ServedName = Annotated[
    str | None,
    typer.Option(
        "--served-model-name",
        metavar="NAME",
        help="The model's name in requests.",
        envvar="GLM_ROCM_SERVED_MODEL_NAME",
        rich_help_panel=_SERVER,
    ),
]
StartTimeout = Annotated[
    float,
    typer.Option(
        "--start-timeout",
        min=1,
        metavar="S",
        help="Seconds until the first completion must have succeeded.",
        rich_help_panel=_SERVER,
    ),
]
Drain = Annotated[
    int,
    typer.Option(
        "--drain",
        min=0,
        max=86400,
        metavar="S",
        help="Seconds that requests in flight get after SIGTERM or Ctrl-C.",
        envvar="GLM_ROCM_DRAIN",
        rich_help_panel=_SERVER,
    ),
]
Grace = Annotated[
    int,
    typer.Option(
        "--grace",
        min=1,
        max=86400,
        metavar="S",
        help="Seconds that the engine then has to end itself before it is killed.",
        envvar="GLM_ROCM_GRACE",
        rich_help_panel=_SERVER,
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="Where plan and engine log are kept.",
        envvar="GLM_ROCM_STATE",
        rich_help_panel=_SERVER,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="Serve this plan, of `glm-rocm plan --json`.", rich_help_panel=_MODEL),
]
Stock = Annotated[
    bool,
    typer.Option("--stock", help="Without the plug-in: the engine's own kernels, to compare.", rich_help_panel=_SERVER),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.", rich_help_panel=_SERVER)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the engine's own log.", rich_help_panel=_SERVER)]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")]


def kernels_by_op(pairs: list[str] | None) -> dict[str, str]:
    """`["attention=cpu.attention"]` as `{"attention": "cpu.attention"}`.

    Raises:
        UsageError: a pair without both sides, or an op named twice.
    """
    chosen: dict[str, str] = {}
    for pair in pairs or []:
        op, equals, name = (part.strip() for part in pair.partition("="))
        if not (op and equals and name):
            raise UsageError(
                f"`--kernel {pair}` is not of the form OP=NAME",
                required="an op and a kernel's name, as in `--kernel attention=cpu.attention`",
                hint="glm-rocm backends",
            )
        if op in chosen:
            raise UsageError(
                f"`--kernel` names op `{op}` twice", required="one kernel per op", hint="glm-rocm backends"
            )
        chosen[op] = name
    return chosen
