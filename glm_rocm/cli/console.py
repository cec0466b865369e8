"""How things look in a terminal and in a pipe: the same text, with colour only where a terminal shows it.

Builds renderables and holds the two consoles; the commands decide what is shown.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from glm_rocm.errors import GlmRocmError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

WIDTH = 96
"""Columns of text at most, and in a pipe exactly: a page that wraps is not read."""

EVIDENCE_WORDS = {
    "hardware": ("ran on it", "green"),
    "emulated": ("emulated", "cyan"),
    "compiled": ("compiled", "yellow"),
    "none": ("no evidence", "red"),
}
STATE_WORDS = {
    "good": ("ok", "green"),
    "missing": ("MISSING", "bold red"),
    "advice": ("advice", "yellow"),
    "absent": ("-", "dim"),
}


class ReaderGone(Exception):
    """The reader of a pipe went away (`| head`). Not an OSError: of that, typer makes an exit code of 1."""


@cache
def console(stream: str) -> Console:
    """The console on `stdout` or `stderr`."""
    from rich.console import Console

    made = Console(stderr=stream == "stderr", highlight=False, emoji=False)
    made.width = min(made.width, WIDTH) if made.is_terminal else WIDTH
    return made


def show(what: RenderableType, *, stream: str = "stdout") -> None:
    """Data by default; pass `stream="stderr"` for everything else."""
    screen = console(stream)
    if screen.is_terminal:
        screen.print(what)
        return
    with screen.capture() as captured:
        screen.print(what)
    # Tables pad their cells; in a pipe that is noise.
    show_plain("\n".join(line.rstrip() for line in captured.get().splitlines()), stream=stream)


def show_plain(text: str, *, stream: str = "stdout") -> None:
    """Text as it is, never wrapped or coloured: JSON, and commands to paste.

    Raises:
        ReaderGone: the pipe's other end is closed.
    """
    try:
        print(text, file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)
    except BrokenPipeError:
        raise ReaderGone from None


def show_error(error: GlmRocmError) -> None:
    """`error:` in one line, a blank line, `hint:`; in colour on a terminal."""
    from rich.text import Text

    text = Text("error: ", "bold red").append(" ".join(error.sentence.split()), "not bold default")
    if error.hint:
        text.append("\n\n").append("hint: ", "bold cyan").append(" ".join(error.hint.split()), "not bold default")
    console("stderr").print(text, soft_wrap=True)


def gigabytes(number: int) -> str:
    """`1.2 GB`, in units of 10^9."""
    return f"{number / 1e9:.1f} GB" if number >= 5e7 else f"{number / 1e6:.1f} MB"


def heading(text: str) -> RenderableType:
    from rich.text import Text

    return Text(f"\n{text}", "bold")


def pairs(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """A name and a value a line; long values wrap under themselves."""
    from rich.text import Text

    return table((Text(name.ljust(11), "dim"), value) for name, value in rows)


def table(
    rows: Iterable[Sequence[str | Text]], *, header: Sequence[str] = (), whole: Sequence[int] = (0,)
) -> RenderableType:
    """Columns without lines. Strings are taken as they are, never as markup; columns in `whole` do not wrap."""
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=bool(header))
    for position in range(max(map(len, cells), default=len(header))):
        title = header[position] if position < len(header) else ""
        made.add_column(title, no_wrap=position in whole, overflow="fold")
    for row in cells:
        made.add_row(*row)
    return _indented(made)


def bullets(sentences: Iterable[str]) -> RenderableType:
    """A sentence an item."""
    from rich.text import Text

    return table((Text("-", "dim"), sentence) for sentence in sentences)


def _indented(what: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(what, (0, 0, 0, 2))


def bar(part: int, whole: int, width: int = 30) -> str:
    """`part` of `whole` as a bar; anything above nothing shows."""
    filled = min(width, round(width * part / whole)) if whole > 0 else 0
    return "█" * (max(1, filled) if part > 0 else 0)


def command_to_paste(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """A command line for a shell, its variables in front, broken before a flag; keys and tokens are left out."""
    secret = ("KEY", "TOKEN", "SECRET", "PASSWORD")
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items() if not name.endswith(secret)]
    words = [shlex.quote(word) for word in argv]
    # A flag's value stays beside it, and the words before the first flag stay together.
    starts = [0, *(position for position, word in enumerate(words) if position and word.startswith("--")), len(words)]
    parts = [" ".join(words[begin:end]) for begin, end in pairwise(starts)]
    return " \\\n    ".join([*_lines(variables), *_lines(parts[:1]), *_lines(parts[1:])])


def _lines(parts: Iterable[str]) -> list[str]:
    """Parts joined to lines that fit the page; a part that is longer has a line of its own."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) < WIDTH - 8:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return lines
