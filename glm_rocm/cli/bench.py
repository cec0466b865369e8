"""`glm-rocm bench`: our kernels beside vLLM's on the same inputs, counted on machine code or timed on a card."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import show, show_plain
from glm_rocm.errors import GlmRocmError, UsageError

if TYPE_CHECKING:
    from glm_rocm.bench.cases import Case
    from glm_rocm.bench.count import Counts
    from glm_rocm.bench.run import Row

EMULATED = ("gfx942", "gfx950")
HERE = ("cuda", "rocm", "cpu")
TARGETS = (*EMULATED, *HERE)
PEER = "vllm"
BASELINES = "ci/baselines"


class RisenError(GlmRocmError):
    """A count is above the committed baseline."""

    exit_code = 1


Ops = Annotated[list[str] | None, typer.Option("--op", metavar="OP", help="Only cases of this op. Repeatable.")]
Names = Annotated[list[str] | None, typer.Option("--case", metavar="NAME", help="Only this case. Repeatable.")]
TargetWord = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="WHERE",
        help="`gfx942`, `gfx950`: count the emulated machine code. `cuda`, `rocm`, `cpu`: time on this machine.",
    ),
]
Against = Annotated[
    str | None, typer.Option("--against", metavar="ENGINE", help="Run `vllm`'s Triton kernels on the same inputs too.")
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write one line a contender.")]
Baseline = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help=f"Counts to check against or to write: {BASELINES}/<target>.json."),
]
Check = Annotated[bool, typer.Option("--check", help="Exit code 1 where a count is 3 % above the baseline.")]
Write = Annotated[bool, typer.Option("--write-baseline", help="Put the counts into the baseline.")]
Quick = Annotated[bool, typer.Option("--quick", help="Only the cases that the baseline's test counts.")]


def bench(
    op: Ops = None,
    case: Names = None,
    target: TargetWord = "gfx942",
    against: Against = None,
    as_json: options.AsJson = False,
    csv: Csv = None,
    baseline: Baseline = None,
    check: Check = False,
    write_baseline: Write = False,
    quick: Quick = False,
) -> None:
    """Our kernels beside vLLM's: each is held to the reference, then counted (emulated) or timed (on a card)."""
    from glm_rocm.bench.cases import choose

    _refuse(target, against, baseline or csv, check, write_baseline)
    cases = choose(op or (), case or ())
    if quick:
        cases = tuple(each for each in cases if each.quick)
        if not cases:
            raise UsageError("no quick case among those chosen", hint="drop `--quick`")
    if target == "cpu":
        cases = tuple(each for each in cases if each.sample == 1)
        if not cases:
            raise UsageError("a CPU takes minutes for batches this large", hint="glm-rocm bench --target gfx942")
    if target in HERE:
        _time(cases, target, against=against is not None, as_json=as_json)
        return
    path = baseline or Path(BASELINES) / f"{target}.json"
    before = _before(path, target, cases) if check else {}
    began = time.process_time()
    rows = list(_progress(_counted(cases, target, against=against is not None), len(cases)))
    seconds = time.process_time() - began
    if as_json:
        show_plain(json.dumps(_document(rows, target, seconds), indent=1))
    else:
        from glm_rocm.cli.benchview import counts_view

        show(counts_view(rows, target, seconds), stream="stdout")
    if csv is not None:
        from glm_rocm.bench.report import to_csv

        csv.write_text(to_csv(rows), encoding="utf-8")
    counts = {row.case.name: row.ours.counts for row in rows}
    if write_baseline:
        _write(path, target, counts)
    if check:
        _check(path, target, before, counts)


def _refuse(target: str, against: str | None, file: Path | None, check: bool, write: bool) -> None:
    """Raise UsageError for flags that mean nothing together."""
    if target not in TARGETS:
        known = ", ".join(f"`{word}`" for word in TARGETS)
        raise UsageError(f"`--target {target}`", required=f"one of {known}", hint="glm-rocm bench --target gfx942")
    if against not in (None, PEER):
        raise UsageError(f"`--against {against}`", required=f"`{PEER}`", hint=f"glm-rocm bench --against {PEER}")
    if target in HERE and (file is not None or check or write):
        raise UsageError(
            f"`--csv` and baselines with `--target {target}`",
            required="an emulated target: counts do not depend on the machine, times do",
            hint=f"glm-rocm bench --target {EMULATED[0]} --check",
        )
    if check and write:
        raise UsageError("`--check` with `--write-baseline`", required="one of the two", hint="glm-rocm bench --check")
    if target == "cpu" and against is not None:
        raise UsageError(
            "`--against vllm` on a CPU, where vLLM has no Triton kernels",
            required="a card, or counts of one",
            hint="python ci/bench_vllm_cpu.py",
        )


def _counted(cases: Sequence[Case], target: str, *, against: bool) -> Iterator[Row]:
    from glm_rocm.backends import emulation
    from glm_rocm.bench.run import emulate
    from glm_rocm.target import parse_target

    emulation.check(target)
    return emulate(cases, parse_target(target), against=against)


def _time(cases: Sequence[Case], kind: str, *, against: bool, as_json: bool) -> None:
    from glm_rocm.bench.timing import measure, require_device
    from glm_rocm.target import detect_target, parse_target

    device = require_device(kind)
    card = parse_target("cpu") if kind == "cpu" else detect_target()
    rows = list(_progress(measure(cases, card, device, against=against), len(cases)))
    if as_json:
        show_plain(json.dumps({"target": kind, "device": card.name, "rows": [row.to_json() for row in rows]}, indent=1))
        return
    from glm_rocm.cli.benchview import times_view

    show(times_view(rows, card.name))


def _progress(rows: Iterator[Any], total: int) -> Iterator[Any]:
    """Each row's name on stderr as it is done: compiling a kernel takes seconds."""
    for number, row in enumerate(rows, 1):
        show_plain(f"{number}/{total} {row.case.name}", stream="stderr")
        yield row


def _document(rows: Sequence[Row], target: str, seconds: float) -> dict[str, Any]:
    import importlib.metadata

    from glm_rocm.bench.report import misses

    versions = {name: importlib.metadata.version(name) for name in ("torch", "triton")}
    described = [row.to_json() | {"misses": misses(row)} for row in rows]
    return {"target": target, "versions": versions, "cpu_seconds": round(seconds, 1), "rows": described}


def _before(path: Path, target: str, cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    """The baseline, read before minutes are spent on what it is compared with."""
    from glm_rocm.bench import baseline

    return baseline.read(path, target, [case.name for case in cases])


def _write(path: Path, target: str, counts: Mapping[str, Counts]) -> None:
    from glm_rocm.bench import baseline

    baseline.write(path, target, counts)
    show_plain(f"{len(counts)} cases written to {path}", stream="stderr")


def _check(path: Path, target: str, before: Mapping[str, Mapping[str, int]], counts: Mapping[str, Counts]) -> None:
    from glm_rocm.bench import baseline

    risen = baseline.risen(before, counts)
    if risen:
        raise RisenError(
            "counts above the baseline: " + "; ".join(map(str, risen)),
            required="a rise of at most 3 %",
            hint=f"where the rise is meant: glm-rocm bench --target {target} --baseline {path} --write-baseline",
        )
    show_plain(f"{len(counts)} cases within 3 % of {path}", stream="stderr")
