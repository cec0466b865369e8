"""Why an engine died, out of what it printed last."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# vLLM: `(EngineCore pid=12) ERROR 11-24 08:00:00 [core.py:1] `; SGLang: `[2026-11-24 08:00:00 TP0] `.
_PREFIX = re.compile(
    r"^(?:\([\w ]+pid=\d+\)\s*)?"
    r"(?:(?:ERROR|INFO|WARNING|CRITICAL) \d\d-\d\d [\d:]+ \[[^]]*\]\s*|\[[\d :-]{10,}[^]]*\]\s*)?"
)
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b(?::|$)")
_OTHER = re.compile(
    r"^(?:error:|[\w ./-]+: error:|Killed|Segmentation fault|Fatal Python error|terminate called"
    r"|Subprocess \w+ \(pid=\d+\) crashed)",  # SGLang's word for a child's death
    re.IGNORECASE,
)
_OURS = re.compile(r"error: (.+)")
_NOTHING_NEW = ("Engine core initialization failed", "See root cause above", "EngineDeadError", "SystemExit")
"""What an engine's outer process says after the cause."""
NO_MEMORY = "the machine's memory may have run out: look at `dmesg | tail`, lower `--context` or `--max-seqs`"
"""For a process that was killed without a word."""


@dataclass(frozen=True)
class Cause:
    """`sentence` quotes the engine; `hint` is empty unless the engine gave one in our manner; without `is_error` the
    sentence is but the last thing it said."""

    sentence: str
    hint: str = ""
    is_error: bool = True


def last_error(lines: Iterable[str]) -> Cause:
    """The last line that names a cause; an `error:` with its `hint:` from our plug-in goes before all else.

    An engine re-raises in its outer processes, so lines that only point at an earlier one are passed over. Without any
    error line, the last line that holds something.
    """
    bare = [text for line in lines if (text := _PREFIX.sub("", line).strip())]
    for position in range(len(bare) - 1, -1, -1):
        if (ours := _OURS.search(bare[position])) and (hint := _hint(bare[position + 1 :])):
            return Cause(ours[1], hint)
    errors = [text for text in reversed(bare) if _EXCEPTION.match(text) or _OTHER.match(text)]
    causes = [text for text in errors if not any(mark in text for mark in _NOTHING_NEW)]
    if errors:
        text = (causes or errors)[0]
        return Cause(f"`{text[:300]}`", NO_MEMORY if "crashed with exit code -9" in text else "")
    return Cause(f"its last line is `{bare[-1][:300]}`" if bare else "it printed nothing", is_error=False)


def _hint(following: list[str]) -> str:
    for text in following[:2]:
        if text.startswith("hint: "):
            return text.removeprefix("hint: ")
    return ""
