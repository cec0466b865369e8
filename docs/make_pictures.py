"""Draw the README's pictures: what a terminal shows, as SVG. Run by `make pictures`.

python docs/make_pictures.py [FOLDER]
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from glm_rocm.console import WIDTH
from glm_rocm.engines import get_engine
from glm_rocm.plan import make_plan
from glm_rocm.planview import plan_view
from glm_rocm.target import parse_target

MODEL, GPUS, MTP = "zai-org/GLM-4.6-FP8", "mi300x:8", 1
# GitHub's own dark palette, so that the picture sits well on both of its page colours.
THEME = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)],
    [(110, 118, 129), (255, 161, 152), (86, 211, 100), (227, 179, 65), (121, 192, 255), (210, 168, 255), (86, 212, 221), (240, 246, 252)],
)  # fmt: skip


def plan_picture() -> str:
    """`glm-rocm plan` as SVG."""
    engine = get_engine("vllm")
    plan = make_plan(MODEL, parse_target(GPUS), engine=engine.name, mtp=MTP, ops=engine.ops)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(f"[bold green]$ [/]glm-rocm plan {MODEL} --gpus {GPUS} --mtp {MTP}\n", highlight=False)
    console.print(plan_view(plan, f"{engine.name} {engine.supported}"))
    console.print()  # rich draws the last line half outside
    drawn = console.export_svg(title="glm-rocm plan", theme=THEME, unique_id="plan")
    # No font from elsewhere: a README's pictures may not load any, and a monospaced one of the reader's does.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace(
        "Fira Code, monospace", "ui-monospace, monospace"
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.svg").write_text(plan_picture(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "img")
