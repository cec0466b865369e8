"""`glm-rocm compile`: our kernels for a card that is not here, into a Triton cache that an image ships."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import pairs, show, show_plain
from glm_rocm.errors import UsageError


def compile_kernels(
    arch: Annotated[
        str, typer.Option("--arch", metavar="ARCHS", help="Some of `gfx942,gfx950`; both by default.")
    ] = "gfx942,gfx950",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The cache to fill: TRITON_CACHE_DIR of the server, same path."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="DIR", help="Compile nothing; exit code 1 where this Triton would not use DIR."
        ),
    ] = None,
    op: Annotated[
        list[str] | None, typer.Option("--op", metavar="OP", help="Only this op's kernels; may be repeated.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Compile the kernels of GLM's shapes without a card, so that a server finds them instead of compiling."""
    from glm_rocm.backends import ahead

    if (out is None) == (check is None):
        raise UsageError(
            "neither `--out` nor `--check`" if out is None else "`--out` and `--check` together",
            required="one of them",
            hint="glm-rocm compile --arch gfx942 --out DIR",
        )
    if check is not None:
        archs = ahead.check(check)
        text = f"`{check}` is used by this Triton: kernels for {', '.join(archs)}"
        show_plain(json.dumps({"folder": str(check), "archs": archs}) if as_json else text)
        return
    assert out is not None
    wanted = [word.strip() for word in arch.split(",") if word.strip()]
    filled = ahead.fill(out, wanted, op or (), lambda text: show_plain(text, stream="stderr"))
    if as_json:
        show_plain(json.dumps(asdict(filled), indent=1))
        return
    refusals = [("refused", reason) for reason in filled.refused]
    show(
        pairs(
            [
                ("folder", filled.folder),
                ("compiled", f"{filled.compiled} kernels for {', '.join(filled.archs)}"),
                ("found", f"{filled.found}, compiled before"),
                *refusals,
                ("use it", f"TRITON_CACHE_DIR={filled.folder}"),
            ]
        )
    )
