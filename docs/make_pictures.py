"""Draw the pages' pictures: what a terminal shows, and the bench's roofline, as SVG. Run by `make pictures`.

python docs/make_pictures.py [FOLDER]
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from roofline import roofline_picture

from glm_rocm.cli.console import WIDTH, heading
from glm_rocm.cli.plan import engine_command
from glm_rocm.cli.planview import plan_view
from glm_rocm.engines import get_engine
from glm_rocm.plan import make_plan
from glm_rocm.target import parse_target

MODEL, GPUS, MTP = "zai-org/GLM-4.5-Air-FP8", "mi300x:2", 1


def _rgb(colours: str) -> list[tuple[int, int, int]]:
    """`"0d1117 e6edf3"` as numbers."""
    return [(int(colour[:2], 16), int(colour[2:4], 16), int(colour[4:], 16)) for colour in colours.split()]


# GitHub's own dark palette, so that the picture sits well on both of its page colours.
THEME = TerminalTheme(
    *_rgb("0d1117 e6edf3"),
    _rgb("484f58 ff7b72 3fb950 d29922 58a6ff bc8cff 39c5cf b1bac4"),
    _rgb("6e7681 ffa198 56d364 e3b341 79c0ff d2a8ff 56d4dd f0f6fc"),
)


def plan_picture() -> str:
    """`glm-rocm plan` as SVG."""
    engine = get_engine("vllm")
    plan = make_plan(MODEL, parse_target(GPUS), engine=engine.name, mtp=MTP, ops=engine.ops)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(f"[bold green]$ [/]glm-rocm plan {MODEL} --gpus {GPUS} --mtp {MTP}\n", highlight=False)
    console.print(plan_view(plan, f"{engine.name} {engine.supported}"))
    title, command = engine_command(plan, engine, None)
    console.print(heading(title))
    for line in f"  {command}".splitlines():
        console.print(Padding(Text(line.strip()), (0, 0, 0, len(line) - len(line.lstrip()))))
    console.print()  # rich draws the last line half outside
    drawn = console.export_svg(title="glm-rocm plan", theme=THEME, unique_id="plan")
    # No font from elsewhere: a README's pictures may not load any, and a monospaced one of the reader's does.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace(
        "Fira Code, monospace", "ui-monospace, monospace"
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.svg").write_text(plan_picture(), encoding="utf-8")
    counts = Path(__file__).parent / "bench" / "gfx942.csv"
    (folder / "roofline.svg").write_text(roofline_picture(counts, parse_target("gfx942")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "img")
