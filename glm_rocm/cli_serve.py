"""`glm-rocm serve` and `glm-rocm plan`: flags to a Plan, the Plan to the screen, and the engine under supervision."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glm_rocm import options
from glm_rocm.console import command_to_paste, console, heading, show, show_plain
from glm_rocm.errors import EngineError, UsageError

if TYPE_CHECKING:
    from glm_rocm.engines.base import Engine, ServeOptions
    from glm_rocm.plan import Plan
    from glm_rocm.serve import Event

PLAN_FLAGS = ("model", "target", "engine", "tp", "mtp", "fp8", "kv_dtype", "context", "max_seqs", "kernel")
QUESTION = "What is 12 + 30?"
ANCIENT = "VLLM_ATTENTION_BACKEND"
"""Read by no vLLM since the choice became `--attention-backend`; GLM's README of 2025 still names it."""

PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan", metavar="FILE", help="Serve this plan, written by `glm-rocm plan --json`.", rich_help_panel="Server"
    ),
]


@dataclass(frozen=True)
class Wanted:
    """The flags that make a plan."""

    model: str
    target: str | None
    engine: str
    tp: int | None
    mtp: int
    fp8: str
    kv_dtype: str
    context: int | None
    max_seqs: int | None
    kernels: Mapping[str, str]
    memory_share: float | None


def plan(
    model: options.Model = "pocket",
    target: options.Target = None,
    engine: options.EngineName = "auto",
    tp: options.Tp = None,
    mtp: options.Mtp = 0,
    fp8: options.Fp8 = "auto",
    kv_dtype: options.KvDtype = "auto",
    context: options.Context = None,
    max_seqs: options.MaxSeqs = None,
    kernel: options.Kernels = None,
    memory_share: options.MemoryShare = None,
    as_json: options.AsJson = False,
) -> None:
    """What would run where, whether it fits, which kernels and why. Works on any machine."""
    wanted = Wanted(
        model, target, engine, tp, mtp, fp8, kv_dtype, context, max_seqs, options.kernels_by_op(kernel), memory_share
    )
    made, its_engine = make(wanted, planning=True)
    if as_json:
        show_plain(made.to_json())
    else:
        show_plan(made, its_engine, None, stream="stdout")


def serve(
    ctx: typer.Context,
    model: options.Model = "pocket",
    target: options.Target = None,
    engine: options.EngineName = "auto",
    tp: options.Tp = None,
    mtp: options.Mtp = 0,
    fp8: options.Fp8 = "auto",
    kv_dtype: options.KvDtype = "auto",
    context: options.Context = None,
    max_seqs: options.MaxSeqs = None,
    kernel: options.Kernels = None,
    memory_share: options.MemoryShare = None,
    plan_file: PlanFile = None,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    api_key: options.ApiKey = None,
    served_name: options.ServedName = None,
    start_timeout: options.StartTimeout = 3600.0,
    drain: options.Drain = 30.0,
    state: options.State = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Serve MODEL (the pocket GLM by default) over an OpenAI-compatible API. What follows `--` goes to the engine."""
    from glm_rocm.engines.base import ServeOptions

    wanted = Wanted(
        model, target, engine, tp, mtp, fp8, kv_dtype, context, max_seqs, options.kernels_by_op(kernel), memory_share
    )
    if plan_file is not None:
        refuse_plan_flags(ctx)
        made, its_engine = read_plan(plan_file)
    else:
        made, its_engine = make(wanted, planning=dry_run)
    asked = ServeOptions(host, port, served_name, api_key, drain_s=round(drain), extra=tuple(ctx.obj or ()))
    if dry_run:
        if as_json:
            show_plain(made.to_json())
        else:
            show_plan(made, its_engine, asked, stream="stdout")
        return
    require(its_engine)
    from glm_rocm.serve import Limits, Supervisor, check_port

    check_port(host, port)
    folder = state_folder(state, port)
    written = folder / "plan.json"
    written.write_text(made.to_json(), encoding="utf-8")
    asked = replace(asked, plan_file=str(written))
    if as_json:
        show_plain(json.dumps({"event": "plan", "plan": json.loads(made.to_json())}))
    else:
        show_plan(made, its_engine, asked, stream="stderr")
    launch = launch_of(made, its_engine, asked, folder / "engine.log", Limits(start=start_timeout, drain=drain))
    with console("stderr").status("") if console("stderr").is_terminal and not as_json else nullcontext() as status:
        watch = Watch(launch, verbose, as_json, status)
        Supervisor(launch, watch.event).run()


def make(wanted: Wanted, *, planning: bool) -> tuple[Plan, Engine]:
    """The plan that the flags ask for, and its engine. For planning alone the engine need not be installed."""
    from glm_rocm.checkpoint import check_checkpoint
    from glm_rocm.engines import auto_engine, engine_names, get_engine
    from glm_rocm.plan import make_plan
    from glm_rocm.target import detect_target, parse_target

    target = parse_target(wanted.target) if wanted.target else detect_target()
    if wanted.engine != "auto":
        engine = get_engine(wanted.engine)
    elif planning:
        engine = get_engine(engine_names()[0])
    else:
        engine = auto_engine()
    share = {} if wanted.memory_share is None else {"memory_fraction": wanted.memory_share}
    made = make_plan(
        wanted.model,
        target,
        engine=engine.name,
        tp=wanted.tp,
        mtp=wanted.mtp,
        fp8=wanted.fp8,
        context=wanted.context,
        max_seqs=wanted.max_seqs,
        kv_cache=wanted.kv_dtype,
        kernels=wanted.kernels,
        ops=engine.ops,
        **share,
    )
    if made.model.path is not None:
        check_checkpoint(made.model.path, made.model, mtp=made.mtp > 0)
    return with_environment_notes(made, os.environ), engine


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


def refuse_plan_flags(ctx: typer.Context) -> None:
    """A plan is whole: a flag beside it that would change it is a contradiction."""
    for name in PLAN_FLAGS:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = "MODEL" if name == "model" else "--" + name.replace("_", "-")
            raise UsageError(
                f"`--plan` and `{flag}` together", required="one of them: a plan holds all that shapes it",
                hint=f"make another plan with `glm-rocm plan MODEL {'' if name == 'model' else flag + ' ...'} --json`",
            )  # fmt: skip


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
    return made, get_engine(made.engine)


def require(engine: Engine) -> None:
    """The engine is installed, in a version that the adapter is made for, and serves.

    Raises:
        EngineError: it is not.
    """
    from packaging.specifiers import SpecifierSet

    found = engine.found_version()
    install = f"pip install '{engine.name}{engine.supported}', or see `glm-rocm doctor`"
    if not engine.serves:
        raise EngineError(
            f"engine `{engine.name}` serves nobody",
            required="an engine with an HTTP server",
            hint="glm-rocm generate PROMPT",
        )
    if found is None:
        raise EngineError(
            f"engine `{engine.name}` is not installed", required=f"{engine.name} {engine.supported}", hint=install
        )
    if not SpecifierSet(engine.supported).contains(found, prereleases=True):
        raise EngineError(
            f"engine `{engine.name}` is of version {found}", required=f"{engine.name} {engine.supported}", hint=install
        )


def state_folder(asked: Path | None, port: int) -> Path:
    """Where plan and log of the server on `port` are kept: `--state`, or a temporary folder."""
    base = asked or Path.home() / ".local/state/glm-rocm"
    folder = base / f"port-{port}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        if asked is not None:
            raise
    return Path(tempfile.mkdtemp(prefix="glm-rocm-"))


def launch_of(made: Plan, engine: Engine, asked: ServeOptions, log: Path, limits: Any) -> Any:
    """What the supervisor starts. The API key travels in the child's environment alone."""
    from glm_rocm.endpoint import Endpoint
    from glm_rocm.serve import Launch

    environment = {name: value for name, value in os.environ.items() if name != ANCIENT}
    environment.update(engine.environment(made, asked))
    name = asked.served_name or made.model.name
    return Launch(
        engine=engine.name,
        command=engine.command(made, asked),
        environment=environment,
        endpoint=Endpoint(asked.host, asked.port, name, asked.api_key),
        log=log,
        phases=engine.phases,
        limits=limits,
    )


def show_plan(made: Plan, engine: Engine, asked: ServeOptions | None, *, stream: str) -> None:
    """The plan and the engine's command line."""
    from glm_rocm.engines.base import ServeOptions
    from glm_rocm.planview import plan_view

    version = engine.found_version()
    words = f"{engine.name} {version}" if version else f"{engine.name} {engine.supported}, not installed here"
    show(plan_view(made, words), stream=stream)
    asked = asked or ServeOptions()
    if not asked.plan_file:
        asked = replace(asked, plan_file="plan.json")
    command = engine.command(made, asked)
    here = shutil.which("python")
    if command[:1] == [sys.executable] and (made.target.stated or here and os.path.samefile(here, sys.executable)):
        command[0] = "python"
    if command:
        show(heading("command of the engine"), stream=stream)
        show_plain("  " + command_to_paste(command, engine.environment(made, asked)), stream=stream)


class Watch:
    """Shows what the supervisor reports."""

    def __init__(self, launch: Any, verbose: bool, as_json: bool, status: Any) -> None:
        self.launch = launch
        self.verbose = verbose
        self.as_json = as_json
        self.status = status

    def event(self, event: Event) -> None:
        from glm_rocm import serve as happened

        match event:
            case happened.Line(text):
                if self.verbose:
                    show_plain(text, stream="stderr")
            case happened.Started(_, log):
                show(heading("start"), stream="stderr")
                self.say(f"        log in {log}")
                self.now("starting")
            case happened.Phase(name, seconds):
                self.say(f"{seconds:5.0f} s {name}")
                self.now(name)
            case happened.Ready(seconds):
                self.ready(seconds)
            case happened.Stopping(signal, seconds):
                flight = f"no new requests, those in flight get {seconds:.0f} s; once more to end at once"
                self.say(f"{signal}: {flight if seconds else 'still starting, ended at once'}")
                self.now("draining")
            case happened.Stopped(seconds):
                self.say(f"stopped after {seconds:.1f} s")
                self.emit({"event": "stopped", "seconds": round(seconds, 1)})

    def ready(self, seconds: float) -> None:
        endpoint = self.launch.endpoint
        if self.status is not None:
            self.status.stop()
        self.say(f"{seconds:5.0f} s ready: a completion request succeeded")
        show(heading("ask it"), stream="stderr")
        show_plain(endpoint.curl(QUESTION), stream="stderr")
        self.emit({"event": "ready", "url": endpoint.url, "model": endpoint.model, "seconds": round(seconds, 1)})

    def say(self, text: str) -> None:
        console("stderr").print("  " + text, markup=False, soft_wrap=True)

    def now(self, what: str) -> None:
        if self.status is not None:
            self.status.update(what)

    def emit(self, event: dict[str, Any]) -> None:
        if self.as_json:
            show_plain(json.dumps(event))
