"""Run the kernels of a card that is not here: as its machine code in the emulator, or in Triton's interpreter.

Either is a way to know that a kernel is right, not a way to serve fast. The emulator, the interpreter's mending and
Triton are imported when a process is switched over, never before.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil

from glm_rocm.errors import EngineError, UsageError
from glm_rocm.target import Target, parse_target

CARDS = {"gfx942": "gfx942", "gfx950": "gfx950", "interpret": "gfx950"}
"""The words of `--emulate`, and the architecture whose kernels and FP8 format each stands for."""

INTERPRET = "interpret"
TRITON = "3.9.0"
"""The Triton whose code objects the emulator, and whose interpreter the mending, was checked with."""
DECODER = ("tinygrad", "0.14.0")
COMPILERS = ("cc", "gcc", "clang")

_active: list[str] = []
"""What this process emulates: one word at most."""


def emulated_target(word: str) -> Target:
    """The card whose kernels a plan chooses under `--emulate WORD`.

    Raises:
        UsageError: an unknown word.
    """
    if word not in CARDS:
        known = ", ".join(f"`{name}`" for name in CARDS)
        raise UsageError(f"`--emulate {word}`", required=f"one of {known}", hint="glm-rocm serve --emulate gfx942")
    return parse_target(CARDS[word])


def check(word: str) -> None:
    """Whether this environment can emulate.

    Raises:
        EngineError: no Triton, or another version; for machine code also no decoder or no C compiler.
    """
    required = {"triton": TRITON} if word == INTERPRET else {"triton": TRITON, DECODER[0]: DECODER[1]}
    for name, version in required.items():
        found = _version(name)
        if found != version:
            raise EngineError(
                f"`--emulate {word}` with `{name}` " + (found or "not installed"),
                required=f"{name} {version}, the one that it was checked with",
                hint="pip install 'glm-rocm[emulator]'",
            )
    if word != INTERPRET and not any(map(shutil.which, COMPILERS)):
        raise EngineError(
            f"`--emulate {word}` without a C compiler", required="`cc`, `gcc` or `clang`", hint="apt-get install gcc"
        )


def environment(word: str) -> dict[str, str]:
    """What a process needs in its environment before Triton is imported."""
    return {"TRITON_INTERPRET": "1"} if word == INTERPRET else {}


def activate(word: str) -> None:
    """Switch this process over: every Triton kernel that it launches from now on is emulated. Re-entrant.

    Raises:
        EngineError: see `check`; the process emulates another card already; or Triton was imported before the
            interpreter could be asked for.
    """
    if word in _active:
        return
    check(word)
    if _active:
        raise EngineError(f"`{word}` in a process that emulates `{_active[0]}`", required="one card per process")
    if word == INTERPRET:
        if os.environ.get("TRITON_INTERPRET") != "1":
            raise EngineError(
                "Triton was not imported as an interpreter", required="`TRITON_INTERPRET=1` when the process starts"
            )
        import exact_interpreter

        exact_interpreter.install()
    else:
        import cdna_emulator

        # Entered for as long as the process lives: there is no card to go back to.
        cdna_emulator.device(word, history=0).__enter__()
    _active.append(word)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
