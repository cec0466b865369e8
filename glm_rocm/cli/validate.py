"""`glm-rocm validate`: kernels against the reference, FP8 against BF16, and the report."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import console, heading, show, show_plain, table
from glm_rocm.errors import ParityError, UsageError

if TYPE_CHECKING:
    from glm_rocm.validate.results import Case, Report

SHOWN = 12
REPORT, PAGE = "report.json", "report.html"


def validate(
    model: options.Model = "pocket",
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="KIND",
            help="`cpu`, the card that is here, `gfx942` or `gfx950` (emulated), `interpret`; detected by default.",
            envvar="GLM_ROCM_TARGET",
        ),
    ] = None,
    level: Annotated[
        str, typer.Option("--level", metavar="LEVELS", help="Some of `ops,block,model,server`.")
    ] = "ops,block,model",
    tp: Annotated[int, typer.Option("--tp", min=1, metavar="N", help="Whose per-rank shapes the ops take.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Few sizes and few questions: a minute, not ten.")] = False,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="A report.json that this one must not fall behind."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Keep finished cases, report.json and report.html; resumes there."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="A running server, for level `server`; started by default."),
    ] = None,
    stock_url: Annotated[
        str, typer.Option("--stock-url", metavar="URL", help="The same checkpoint served without the plug-in.")
    ] = "",
    stock: Annotated[
        bool, typer.Option("--stock", help="Start the engine without the plug-in as well, to tell whose a fault is.")
    ] = False,
    api_key: options.ApiKey = None,
    as_json: options.AsJson = False,
) -> None:
    """Hold every kernel to the reference and FP8 to BF16; exit code 1 where a gate is missed."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from glm_rocm.validate.page import page
    from glm_rocm.validate.results import Report
    from glm_rocm.validate.run import Wishes
    from glm_rocm.validate.run import validate as run
    from glm_rocm.validate.server import Server

    levels = tuple(word.strip() for word in level.split(",") if word.strip())
    if url and stock:
        raise UsageError(
            "`--stock` with `--url`",
            required="`--stock-url` for a server that runs already",
            hint="glm-rocm validate --url URL --stock-url URL",
        )
    if (url or stock) and "server" not in levels:
        levels = (*levels, "server")
    server = Server(url, stock_url, api_key) if url else None
    wishes = Wishes(model, target, levels, tp, quick, out, baseline, server, stock)
    with ExitStack() as stack:
        tell: Any = None
        if console("stderr").is_terminal:
            columns = (TextColumn("{task.fields[words]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            live = stack.enter_context(Progress(*columns, console=console("stderr"), transient=True))
            task = live.add_task("", total=None, words="")

            def tell(now: Any) -> None:
                words = now.words or f"{now.case.level} {now.case.op} {now.case.stress} M {now.case.m}"
                if now.case:
                    live.update(task, completed=now.done, total=max(now.total, now.done) or None, words=words)
                else:
                    live.update(task, words=words)

        report = run(wishes, tell) if tell else run(wishes)
    if out is not None:
        (out / REPORT).write_text(report.to_json(), encoding="utf-8")
        before = Report.read(baseline) if baseline else None
        (out / PAGE).write_text(page(report, before), encoding="utf-8")
    if as_json:
        show_plain(report.to_json())
    else:
        _summary(report, out)
    if not report.passed:
        raise typer.Exit(ParityError.exit_code)


def _summary(report: Report, out: Path | None) -> None:
    """A line per level and op, what missed its gate, the verdict."""
    from glm_rocm.validate.results import nearest

    show(heading(f"{report.model} on {report.target}"))
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in report.cases:
        groups.setdefault((case.level, case.op), []).append(case)
    rows = []
    for (level, op), cases in groups.items():
        missed = [case for case in cases if not case.passed]
        near = nearest(one for case in cases for one in case.checks)
        figure = f"{near.gate} {near.measured:.3g} of {near.limit:.3g}" if near and near.limit else ""
        rows.append((level, op, f"{len(cases)} cases", f"{len(missed)} MISSED" if missed else "met", figure))
    show(table(rows, header=("level", "op", "", "gates", "nearest its gate"), whole=(0, 1, 2)))
    if report.failures:
        show(heading("missed"))
        show(table((case.kernel, case.sentence()) for case in report.failures[:SHOWN]))
        if len(report.failures) > SHOWN:
            show_plain(f"  and {len(report.failures) - SHOWN} more")
    if report.regressions:
        show(heading("worse than the baseline"))
        show(table((key,) for key in report.regressions[:SHOWN]))
    show(heading(report.verdict()))
    if out is not None:
        show_plain(f"report: {out / PAGE}")
