"""`glm-rocm plan`: flags to a Plan, and the Plan to the screen."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from glm_rocm.cli import options
from glm_rocm.cli.console import command_to_paste, heading, show, show_plain
from glm_rocm.errors import TargetError, UsageError

if TYPE_CHECKING:
    from glm_rocm.engines.base import Engine, ServeOptions
    from glm_rocm.plan import Plan
    from glm_rocm.probe import Prober
    from glm_rocm.target import Target

ANCIENT = "VLLM_ATTENTION_BACKEND"
"""Read by no vLLM since the choice became `--attention-backend`; GLM's README of 2025 still names it."""
PLAN_FILE = "plan.json"
"""How a plan that was not written anywhere is called in the command line that is shown."""


@dataclass(frozen=True)
class Wanted:
    """The flags that make a plan."""

    model: str
    target: str | None
    engine: str
    tp: int | None
    mtp: int
    fp8: str
    dtype: str
    kv_dtype: str
    context: int | None
    max_seqs: int | None
    kernels: Mapping[str, str]
    memory_share: float | None
    emulate: str
    disaggregate: str | None = None
    probe: bool = False


def plan(
    model: options.Model = "pocket",
    target: options.Target = None,
    engine: options.EngineName = "auto",
    tp: options.Tp = None,
    mtp: options.Mtp = 0,
    fp8: options.Fp8 = "auto",
    dtype: options.Dtype = "auto",
    kv_dtype: options.KvDtype = "auto",
    context: options.Context = None,
    max_seqs: options.MaxSeqs = None,
    kernel: options.Kernels = None,
    memory_share: options.MemoryShare = None,
    emulate: options.Emulate = "",
    disaggregate: options.Disaggregate = None,
    probe: options.Probe = False,
    as_json: options.AsJson = False,
) -> None:
    """What would run where, whether it fits, which kernels and why. Works on any machine."""
    kernels = options.kernels_by_op(kernel)
    wanted = Wanted(
        model, target, engine, tp, mtp, fp8, dtype, kv_dtype, context, max_seqs, kernels, memory_share, emulate,
        disaggregate, probe,
    )  # fmt: skip
    made, its_engine = make(wanted, planning=True)
    if as_json:
        show_plain(made.to_json())
    else:
        show_plan(made, its_engine, None, stream="stdout")


def make(wanted: Wanted, *, planning: bool) -> tuple[Plan, Engine]:
    """The plan that the flags ask for, and its engine. For planning alone the engine need not be installed."""
    from glm_rocm.engines import auto_engine, engine_names, get_engine
    from glm_rocm.plan import Disaggregation, make_plan
    from glm_rocm.plan.memory import MEMORY_FRACTION
    from glm_rocm.target import detect_target, parse_target

    disaggregation = Disaggregation.parse(wanted.disaggregate) if wanted.disaggregate else None
    target = parse_target(wanted.target) if wanted.target else detect_target()
    if wanted.engine != "auto":
        engine = get_engine(wanted.engine)
    elif planning:
        engine = get_engine(engine_names()[0])
    else:
        engine = auto_engine()
    made = make_plan(
        wanted.model,
        target,
        engine=engine.name,
        tp=wanted.tp,
        mtp=wanted.mtp,
        fp8=wanted.fp8,
        context=wanted.context,
        max_seqs=wanted.max_seqs,
        dtype=wanted.dtype,
        kv_cache=wanted.kv_dtype,
        kernels=wanted.kernels,
        ops=engine.ops,
        memory_fraction=wanted.memory_share or MEMORY_FRACTION,
        emulate=wanted.emulate,
        disaggregation=disaggregation,
        probe=prober(target) if wanted.probe and not wanted.emulate else None,
    )
    check_model(made)
    return with_environment_notes(made, os.environ), engine


def prober(target: Target) -> Prober | None:
    """What tries kernels on the target; None where it is not in this machine, so that nothing can be tried."""
    from glm_rocm.backends import environment
    from glm_rocm.probe import Prober
    from glm_rocm.target import detect_target

    try:
        here = detect_target()
    except TargetError:
        return None
    if (here.vendor, here.arch) != (target.vendor, target.arch):
        return None

    def tell(name: str) -> None:
        show_plain(f"trying `{name}`; the first time it may have to compile for minutes", stream="stderr")

    return Prober(target, environment={**environment(target), **os.environ}, tell=tell)


def check_model(made: Plan) -> None:
    """The plan's checkpoint, where it lies in a folder, is there and whole.

    Raises:
        CheckpointError: it is not.
    """
    from glm_rocm.model.checkpoint import check_checkpoint

    if made.model.path is not None:
        check_checkpoint(made.model.path, made.model, mtp=made.mtp > 0)


def with_environment_notes(made: Plan, environ: Mapping[str, str]) -> Plan:
    """The plan with a line for each variable that a person set in the belief that an engine reads it."""
    notes = []
    if backend := environ.get(ANCIENT):
        chosen = made.chosen("attention")
        notes.append(
            f"{ANCIENT}={backend} is read by no engine any more: translated to our own choice, attention runs "
            f"`{chosen}`; choose another with `--kernel attention=NAME`"
        )
    if archs := environ.get("TORCH_CUDA_ARCH_LIST"):
        notes.append(f"TORCH_CUDA_ARCH_LIST={archs} is passed on to the engine")
    return replace(made, notes=(*notes, *made.notes))


def read_plan(path: Path) -> tuple[Plan, Engine]:
    """A plan from a file.

    Raises:
        UsageError: the file cannot be read.
        PlanError: it holds no plan of this version.
    """
    from glm_rocm.engines import get_engine
    from glm_rocm.plan import Plan

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the plan `{path}`: {getattr(error, 'strerror', None) or 'it is not text'}",
            required="the JSON of `glm-rocm plan MODEL --json`",
            hint=f"glm-rocm plan MODEL --json > {path.name}",
        ) from None
    made = Plan.from_json(text)
    check_model(made)
    return made, get_engine(made.engine)


def show_plan(made: Plan, engine: Engine, asked: ServeOptions | None, *, stream: str) -> None:
    """The plan and the engine's command line."""
    from glm_rocm.cli.planview import plan_view

    commands = list(engine_commands(made, engine, asked))  # what is refused is refused before anything is shown
    version = engine.found_version()
    words = f"{engine.name} {version}" if version else f"{engine.name} {engine.supported}, not installed here"
    show(plan_view(made, words), stream=stream)
    for title, command in commands:
        show(heading(title), stream=stream)
        show_plain("  " + command, stream=stream)


def engine_commands(made: Plan, engine: Engine, asked: ServeOptions | None) -> Iterator[tuple[str, str]]:
    """(heading, command line to paste) of each process that is started; none where the engine does not serve."""
    from glm_rocm.engines.base import Disaggregating, ServeOptions

    asked = asked or ServeOptions()
    behind = ""
    if not asked.plan_file:
        asked = replace(asked, plan_file=PLAN_FILE)
        behind = f" ({PLAN_FILE} is what --json prints)"
    environment = engine.environment(made, asked)
    if made.disaggregation and isinstance(engine, Disaggregating):
        for member in engine.members(made, asked):
            words = f"command of the {member.name}" + ("" if member.name == "router" else " server")
            yield words + behind, command_to_paste(_as_typed(made, list(member.command)), environment)
            behind = ""
    elif argv := engine.command(made, asked):
        yield "command of the engine" + behind, command_to_paste(_as_typed(made, argv), environment)


def _as_typed(made: Plan, argv: list[str]) -> list[str]:
    """`python` for this environment's Python, where a person would type that."""
    here = shutil.which("python")
    if argv[0] == sys.executable and (made.target.stated or (here and os.path.samefile(here, sys.executable))):
        return ["python", *argv[1:]]
    return argv
