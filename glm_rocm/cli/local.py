"""`glm-rocm generate`, `quantize` and `doctor`: what needs no server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import STATE_WORDS, console, gigabytes, heading, pairs, show, show_plain, table

if TYPE_CHECKING:
    from rich.text import Text

    from glm_rocm.doctor import Finding


def quantize(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A bf16 checkpoint's folder, or `pocket`.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A folder that is not there yet.")],
    scheme: Annotated[
        str,
        typer.Option("--scheme", help="`fp8_channel_token`, the layout of GLM's own FP8, or `fp8_block` (128x128)."),
    ] = "fp8_channel_token",
    as_json: options.AsJson = False,
) -> None:
    """Make an FP8 checkpoint from a bf16 one, shard by shard. A run that was killed goes on where it stopped."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from glm_rocm.pocket import checkpoint_path
    from glm_rocm.quantize import quantize_checkpoint

    folder = checkpoint_path() if str(source) == "pocket" else source
    with ExitStack() as stack:
        tell = None
        if console("stderr").is_terminal:
            columns = (TextColumn("shard {task.fields[shard]}"), BarColumn(), TimeRemainingColumn())
            live = stack.enter_context(Progress(*columns, console=console("stderr"), transient=True))
            task = live.add_task("", total=None, shard="")

            def tell(now: Any) -> None:
                live.update(task, total=now.bytes, completed=now.bytes_done, shard=f"{now.shards_done}/{now.shards}")

        report = quantize_checkpoint(folder, destination, scheme, progress=tell)
    if as_json:
        show_plain(report.to_json())
        return
    show(
        pairs(
            [
                ("written", report.destination),
                ("scheme", report.scheme),
                ("size", f"{gigabytes(report.bytes_after)}, before {gigabytes(report.bytes_before)}"),
                ("weights", f"{report.quantized} in FP8, {report.kept} tensors as they were"),
                ("worst error", f"{report.worst_error:.2%} RMS, in {report.worst_tensor}"),
                *(("note", note) for note in report.notes),
                ("serve it", f"glm-rocm serve {report.destination}"),
            ]
        )
    )


def doctor(
    hooks: Annotated[
        bool, typer.Option("--hooks/--no-hooks", help="Hold the plug-in's hooks against the engine (imports it).")
    ] = True,
    as_json: options.AsJson = False,
) -> None:
    """What this machine has for serving GLM, what is missing, and the command that mends it."""
    from glm_rocm.doctor import examine, healthy

    findings = examine(environ=os.environ, hooks=hooks)
    if as_json:
        show_plain(
            json.dumps({"healthy": healthy(findings), "findings": [asdict(item) for item in findings]}, indent=1)
        )
    else:
        for area, members in groupby(findings, key=lambda item: item.area):
            show(heading(area))
            show(table(_rows(members)))
        show(heading("nothing that serving needs is missing" if healthy(findings) else "not ready to serve"))
    if not healthy(findings):
        raise typer.Exit(1)


def _rows(findings: Iterable[Finding]) -> Iterator[tuple[Text, ...]]:
    from rich.text import Text

    from glm_rocm.doctor import HOOKS

    for item in findings:
        found = Text(item.found).append(f"\nhint: {item.cure}" if item.cure else "", "cyan")
        if item.area.startswith(HOOKS):
            # A dotted path is too long for a column beside another.
            yield Text(*STATE_WORDS[item.state]), Text(f"{item.name}\n  ").append(found)
        else:
            yield Text(*STATE_WORDS[item.state]), Text(item.name), found


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to ask.")],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="MODEL", help="Checkpoint folder or hub id, or `pocket`.", envvar="GLM_ROCM_MODEL"
        ),
    ] = "pocket",
    target: options.Target = None,
    tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, metavar="N", help="Tokens at most.")] = 128,
    thinking: Annotated[bool, typer.Option("--thinking/--no-thinking", help="Let it think first.")] = True,
    kernel: options.Kernels = None,
    emulate: options.Emulate = "",
    as_json: options.AsJson = False,
) -> None:
    """One answer from the model in this process, by transformers with our kernels; no server."""
    from glm_rocm.backends import emulation
    from glm_rocm.engines import transformers
    from glm_rocm.target import parse_target

    card = parse_target(target) if target else None
    plan = transformers.plan_generation(model, card, kernels=options.kernels_by_op(kernel), emulate=emulate)
    if emulate:
        emulation.check(emulate)
        os.environ.update(emulation.environment(emulate))

    def piece(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    answer = transformers.generate(
        model, prompt, plan=plan, max_new_tokens=tokens, thinking=thinking, stream=None if as_json else piece
    )
    if as_json:
        show_plain(
            json.dumps({**asdict(answer), "kernels": {one.problem.op: one.chosen.name for one in plan.selections}})
        )
    else:
        show_plain("")
