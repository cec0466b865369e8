"""`glm-rocm tune`: search the experts' launch choices for a user's own card, and keep them in a file of the user's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import show_plain
from glm_rocm.errors import UsageError

if TYPE_CHECKING:
    from glm_rocm.bench.tuning import Search, Store, Tried

EMULATED = ("gfx942", "gfx950")
HERE = ("rocm", "cuda")
PRECISIONS = {"fp8": (True,), "bf16": (False,), "both": (True, False)}

Model = Annotated[str, typer.Argument(metavar="[MODEL]", help="A known model: its shapes are tuned for.")]
Where = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="WHERE",
        help="`rocm`, `cuda`: measure on the card that is here. `gfx942`, `gfx950`: count the emulated machine code.",
    ),
]
Tp = Annotated[int, typer.Option("--tp", min=1, metavar="N", help="Tensor parallelism: the shapes of one rank of N.")]
Tokens = Annotated[
    list[int] | None, typer.Option("--tokens", min=1, metavar="M", help="A batch size. Repeatable; 1, 16 and 320.")
]
Precision = Annotated[str, typer.Option("--precision", metavar="P", help="`fp8`, `bf16` or `both`.")]
Kernels = Annotated[
    list[str] | None, typer.Option("--kernel", metavar="NAME", help="Search only `moe.gate_up`, ... Repeatable.")
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="By default the file that `serve` reads.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be tried, and stop.")]


def tune(
    model: Model = "zai-org/GLM-4.6",
    target: Where = "rocm",
    tp: Tp = 8,
    tokens: Tokens = None,
    precision: Precision = "both",
    kernel: Kernels = None,
    output: Output = None,
    dry_run: DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Search launch choices of the experts' kernels; `serve` uses those that were measured with its own versions."""
    searches, store, stale = _searches(model, target, tp, tokens or [1, 16, 320], precision, kernel, output)
    if stale:
        show_plain(stale, stream="stderr")
    for search in searches:
        show_plain(f"{search.case.describe()}: at most {search.most()} calls", stream="stderr")
        if not dry_run:
            _run(search, target)
    if as_json:
        content = {"file": str(store.path), "entries": store.entries, "tried": store.tried}
        show_plain(json.dumps(content, indent=1))
        return
    for entry in store.entries:
        show_plain(f"{entry['op']} {json.dumps(entry['where'])}: {json.dumps(entry['choice'])}")
        show_plain(f"  {entry['versions']['source']}")
    what = "would be written to" if dry_run else "are in"
    show_plain(f"choices better than the shipped ones {what} {store.path}", stream="stderr")


def _searches(
    model: str,
    where: str,
    tp: int,
    tokens: list[int],
    precision: str,
    kernels: list[str] | None,
    output: Path | None,
) -> tuple[list[Search], Store, str]:
    """What is asked for, checked before anything runs."""
    from glm_rocm.backends import emulation, tuned
    from glm_rocm.bench.timing import require_device
    from glm_rocm.bench.tuning import KNOBS, Search, Store, cases_of
    from glm_rocm.model.known import KNOWN
    from glm_rocm.target import detect_target, parse_target

    _one_of("--target", where, (*EMULATED, *HERE))
    _one_of("--precision", precision, tuple(PRECISIONS))
    _one_of("MODEL", model, tuple(KNOWN))
    for name in kernels or ():
        _one_of("--kernel", name, tuple(KNOBS))
    KNOWN[model].per_rank(tp)  # refuses what the model cannot be cut into
    cases = cases_of(model, tp, tokens, PRECISIONS[precision])
    if where in HERE:
        require_device(where)
        target = detect_target()
    else:
        emulation.check(where)
        target = parse_target(where)
    path = output or tuned.default_path(target.arch)
    measured = "model of time, counts on the emulator" if where in EMULATED else "time on the card"
    store, stale = Store.open(path, target.arch, target.name, measured)
    return [Search(case, target, tuple(kernels or KNOBS), store) for case in cases], store, stale


def _run(search: Search, where: str) -> None:
    from glm_rocm.bench.timing import require_device
    from glm_rocm.bench.tuning import on_card, on_emulator

    if where in EMULATED:
        measure = on_emulator(search.case, search.target)
    else:
        measure = on_card(search.case, search.target, require_device(where))
    for number, tried in enumerate(search.run(measure), 1):
        show_plain(f"  {number}/{search.most()} {_line(tried)}", stream="stderr")


def _line(tried: Tried) -> str:
    """One call of the search."""
    name = f"{tried.kernel} {tried.changed}".strip()
    again = " (known)" if tried.remembered else ""
    if tried.cost is None:
        return f"{name}: refused, {tried.refused}{again}"
    counted = f", {tried.cost.instructions} instructions" if tried.cost.instructions else ""
    return f"{name}: {tried.cost.us:.2f} us{counted}{again}"


def _one_of(flag: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        names = ", ".join(f"`{name}`" for name in known)
        raise UsageError(f"`{flag} {word}`", required=f"one of {names}", hint="glm-rocm tune --help")
