"""The command line. The only place that prints, and the only one that reads the environment for a flag's default.

Data goes to stdout, everything else to stderr. Exit codes: 0 all is well, 1 a check failed, 2 an error with its cure.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import cast

import typer

from glm_rocm.cli import ahead, bench, kernels, local, plan, serve, tune, validate
from glm_rocm.cli.console import ReaderGone, show_error
from glm_rocm.errors import GlmRocmError, UsageError

# The base of typer's usage errors. It lives in a module whose name changes between typer's releases.
_CommandError = cast("type[Exception]", typer.BadParameter.__mro__[2])

app = typer.Typer(
    name="glm-rocm",
    help="Serve GLM-4.5 / 4.6 / 4.7 on whatever accelerator is there, with kernels that say how they are known.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("serve")(serve.serve)
app.command("plan")(plan.plan)
app.command("backends")(kernels.backends)
app.command("bench")(bench.bench)
app.command("tune")(tune.tune)
app.command("validate")(validate.validate)
app.command("generate")(local.generate)
app.command("quantize")(local.quantize)
app.command("compile")(ahead.compile_kernels)
app.command("doctor")(local.doctor)


def _version(asked: bool) -> None:
    if asked:
        from glm_rocm import __version__

        typer.echo(f"glm-rocm {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print it.")) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; an error is shown as `error:` and `hint:`, never as a traceback."""
    if os.getpid() == 1:
        # Process 1 of a container has no default action for SIGTERM: without this, `docker stop` waits, then kills.
        signal.signal(signal.SIGTERM, _leave)
    words, engine_words = _split(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])
    try:
        words, passed = serve.passed_on(words, engine_words)
        code = app(words, prog_name="glm-rocm", obj=passed, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except GlmRocmError as error:
        show_error(error)
        return error.exit_code
    except _CommandError as error:
        show_error(_usage(error, words))
        return UsageError.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except (ReaderGone, BrokenPipeError):
        # Nothing is wrong, and nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        what = f"`{error.filename}`: {error.strerror}" if error.filename else str(error)
        show_error(UsageError(what, hint="check the path, its permissions and the disk"))
        return UsageError.exit_code


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and behind `--` of `serve`: behind it are the engine's own arguments, not a MODEL."""
    if words[:1] != ["serve"] or "--" not in words:
        return words, []
    position = words.index("--")
    return words[:position], words[position + 1 :]


def _usage(error: Exception, words: list[str]) -> UsageError:
    """Typer's own complaint in our manner."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    message = " ".join(message.split()).rstrip(".").replace("'", "`")
    command = next((word for word in words if not word.startswith("-")), "")
    known = command in {info.name for info in app.registered_commands}
    hint = f"glm-rocm {command} --help" if known else "glm-rocm --help"
    return UsageError(message[:1].lower() + message[1:] or "no command given", hint=hint)
