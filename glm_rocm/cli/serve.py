"""`glm-rocm serve`: the engine of a plan under supervision, and what happens to it on the screen."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from glm_rocm.cli import options
from glm_rocm.cli.console import console, heading, show, show_plain
from glm_rocm.cli.plan import ANCIENT, Wanted, make, read_plan, show_plan
from glm_rocm.errors import EngineError, TargetError, UsageError

if TYPE_CHECKING:
    from rich.status import Status

    from glm_rocm.engines.base import Engine, Member, ServeOptions
    from glm_rocm.plan import Plan
    from glm_rocm.serve import Event, Launch, Limits

PLAN_FLAGS = (
    "model",
    "target",
    "engine",
    "tp",
    "mtp",
    "fp8",
    "dtype",
    "kv_dtype",
    "context",
    "max_seqs",
    "kernel",
    "emulate",
    "disaggregate",
    "probe",
)
OUR_FLAGS = ("--host", "--port", "--api-key", "--served-model-name", "--shutdown-timeout")
"""Flags of an engine that the supervisor must know of: they have their place before the `--`."""
QUESTION = "What is 12 + 30?"
WITHOUT_PLUG_IN = "--stock: served without the plug-in, so the engine runs its own kernels and not the plan's"


@dataclass(frozen=True)
class Passed:
    """What goes from the command line to the engine, and what SGLang's flags among our own became.

    Attributes:
        behind: the words behind `--`, as they are.
        sglang: SGLang's flags before it that have no counterpart here; no other engine takes them.
        notes: what became of the others, for the plan's reader.
        tool_parser: the layout of tool calls that was asked for; empty: none was.
    """

    behind: tuple[str, ...] = ()
    sglang: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tool_parser: str = ""


def passed_on(words: list[str], behind: list[str]) -> tuple[list[str], Passed]:
    """The words that are for our own parser, and what is passed on beside them.

    Args:
        words: the command line up to `--`.
        behind: what follows.

    Raises:
        UsageError: a flag of SGLang's that means nothing here.
    """
    if words[:1] != ["serve"]:
        return words, Passed(tuple(behind))
    from glm_rocm.engines.sglang.flags import translate

    made = translate(words)
    return list(made.words), Passed(tuple(behind), made.engine, made.notes, made.tool_parser)


def serve(
    ctx: typer.Context,
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
    probe: options.Probe = True,
    plan_file: options.PlanFile = None,
    stock: options.Stock = False,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    api_key: options.ApiKey = None,
    served_name: options.ServedName = None,
    start_timeout: options.StartTimeout = 3600.0,
    drain: options.Drain = 30,
    grace: options.Grace = 15,
    state: options.State = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Serve MODEL (the pocket GLM by default) over an OpenAI-compatible API. What follows `--` goes to the engine.

    The SGLang flags of GLM's README are taken as they are and told back: docs/sglang-flags.md.
    """
    from glm_rocm.engines.base import ServeOptions
    from glm_rocm.serve import Limits

    passed = ctx.obj or Passed()
    refuse_our_flags(passed.behind)
    kernels = options.kernels_by_op(kernel)
    wanted = Wanted(
        model, target, engine, tp, mtp, fp8, dtype, kv_dtype, context, max_seqs, kernels, memory_share, emulate,
        disaggregate, probe and not stock and not dry_run,
    )  # fmt: skip
    if plan_file is not None:
        refuse_plan_flags(ctx)
    made, its_engine = read_plan(plan_file) if plan_file else make(wanted, planning=dry_run)
    refuse_passed(passed, made, its_engine)
    made = replace(made, notes=(*passed.notes, *((WITHOUT_PLUG_IN,) if stock else ()), *made.notes))
    extra = (*passed.sglang, *passed.behind)
    asked = ServeOptions(host, port, served_name, api_key, drain_s=drain, extra=extra)
    if dry_run:
        if as_json:
            show_plain(made.to_json())
        else:
            show_plan(made, its_engine, asked, stream="stdout")
        return
    limits = Limits(start=start_timeout, drain=drain, grace=grace)
    run(made, its_engine, asked, limits, state, stock=stock, verbose=verbose, as_json=as_json)


def run(
    made: Plan,
    engine: Engine,
    asked: ServeOptions,
    limits: Limits,
    state: Path | None,
    *,
    stock: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Check, show the plan, start the engine, and stay until it is stopped. A `stock` engine is not told the plan."""
    from glm_rocm.serve import Supervisor, check_port

    require_engine(engine, made.target.vendor)
    require_machine(made)
    require_emulation(made)
    for member in members_of(made, engine, asked):
        for host, port in member.ports:
            check_port(host, port)
    check_port(asked.host, asked.port)
    folder = state_folder(state, asked.port)
    written = folder / "plan.json"
    written.write_text(made.to_json(), encoding="utf-8")
    asked = replace(asked, plan_file=None if stock else str(written))
    if as_json:
        show_plain(json.dumps({"event": "plan", "plan": json.loads(made.to_json())}))
    else:
        show_plan(made, engine, asked, stream="stderr")
    launch = launch_of(made, engine, asked, folder / "engine.log", limits)
    screen = console("stderr")
    with screen.status("") if screen.is_terminal and not verbose else nullcontext() as status:
        Supervisor(launch, Watch(launch, verbose, as_json, status).event).run()


def refuse_our_flags(words: Sequence[str]) -> None:
    """An engine that listens elsewhere than the supervisor thinks could not be told from one that is dead."""
    for word in words:
        flag = word.partition("=")[0]
        if flag in OUR_FLAGS:
            ours = "--drain" if flag == "--shutdown-timeout" else flag
            raise UsageError(
                f"`{flag}` behind `--`",
                required="before it, as a flag of `glm-rocm serve`",
                hint=f"glm-rocm serve MODEL {ours} ... -- ENGINE ARGUMENTS",
            )


def refuse_passed(passed: Passed, made: Plan, engine: Engine) -> None:
    """Flags of one engine for another, and a tool-call parser for another model.

    Raises:
        UsageError: there are such.
    """
    if passed.sglang and engine.name != "sglang":
        raise UsageError(
            f"`{passed.sglang[0]}`, a flag of SGLang, for `{engine.name}`",
            required="`--engine sglang`",
            hint=f"add `--engine sglang`, or drop `{passed.sglang[0]}`",
        )
    if passed.tool_parser not in ("", made.model.tool_parser):
        raise UsageError(
            f"a tool-call parser for the layout of `{passed.tool_parser}`",
            required=f"`{made.model.tool_parser}`, in which the chat template of `{made.model.name}` has calls written",
            hint="drop `--tool-call-parser`: the plan knows the model's",
        )


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


def require_engine(engine: Engine, vendor: str) -> None:
    """The engine serves, and is installed in a version that the adapter is made for.

    Raises:
        EngineError: it is not.
    """
    from glm_rocm.engines import check_installed

    if not engine.serves:
        raise EngineError(
            f"engine `{engine.name}` serves nobody",
            required="an engine with an HTTP server",
            hint="glm-rocm generate PROMPT",
        )
    check_installed(engine, vendor)


def require_machine(made: Plan) -> None:
    """The plan's target is what this machine has. An accelerator outside the table may be stated as its nearest kin.

    Raises:
        TargetError: it is another one, or there are fewer devices.
    """
    from glm_rocm.target import detect_target

    try:
        here = detect_target()
    except TargetError:
        return
    if (here.vendor, here.arch) != (made.target.vendor, made.target.arch) or here.count < made.devices:
        raise TargetError(
            f"the plan is for {made.target.describe()}, and this machine has {here.describe()}",
            required="the accelerator of the plan",
            hint="look at such a plan with `glm-rocm plan`; serve it where its accelerator is",
        )


def require_emulation(made: Plan) -> None:
    """This environment can run the kernels of a card that is not here, where the plan wants that.

    Raises:
        EngineError: it cannot.
    """
    from glm_rocm.backends import emulation

    if made.emulate:
        emulation.check(made.emulate)


def state_folder(asked: Path | None, port: int) -> Path:
    """Where plan and log of the server on `port` are kept: `--state`, the user's own folder, or a temporary one."""
    name = f"port-{port}"
    if asked is not None:
        (asked / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        return asked / name
    try:
        folder = Path.home() / ".local/state/glm-rocm" / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # a read-only home, or a user id without any, both usual in containers
        pass
    return Path(tempfile.mkdtemp(prefix="glm-rocm-"))


def members_of(made: Plan, engine: Engine, asked: ServeOptions) -> tuple[Member, ...]:
    """The processes of a plan that serves prefill and decode apart; none for any other.

    Raises:
        EngineError: something is not installed that they need.
    """
    from glm_rocm.engines.base import Disaggregating

    if made.disaggregation is None or not isinstance(engine, Disaggregating):
        return ()
    engine.check_group(made.target.vendor)
    return engine.members(made, asked)


def launch_of(made: Plan, engine: Engine, asked: ServeOptions, log: Path, limits: Limits) -> Launch:
    """What the supervisor starts. The API key travels in the child's environment alone."""
    from glm_rocm.engines.base import PLAN_VARIABLE
    from glm_rocm.serve import Launch, leader_command
    from glm_rocm.serve.endpoint import Endpoint

    environment = {name: value for name, value in os.environ.items() if name not in (ANCIENT, PLAN_VARIABLE)}
    environment.update(engine.environment(made, asked))
    name = asked.served_name or made.model.name
    group = members_of(made, engine, asked)
    command = engine.command(made, asked)
    if group:
        command = leader_command([(member.name, member.command) for member in group], asked.drain_s)
    return Launch(
        engine=engine.name,
        command=command,
        environment=environment,
        endpoint=Endpoint(asked.host, asked.port, name, asked.api_key),
        log=log,
        phases=engine.phases,
        workers=made.disaggregation.servers if made.disaggregation else 0,
        limits=limits,
    )


class Watch:
    """Shows what the supervisor reports."""

    def __init__(self, launch: Launch, verbose: bool, as_json: bool, status: Status | None) -> None:
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
                if not self.launch.endpoint.is_private:
                    self.say("        open to other machines, and no --api-key is asked for")
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
