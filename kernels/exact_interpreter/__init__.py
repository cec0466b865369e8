"""Triton's interpreter, made exact: bf16 and FP8 as torch has them, and no access out of bounds. See `install`.

Triton 3.9.0 interprets kernels (`TRITON_INTERPRET=1`) as numpy, which has neither bf16 nor FP8. It truncates casts to
bf16, rounds casts to FP8 wrongly, and multiplies and adds the bit patterns of bf16 as if they were integers; a pointer
out of bounds reads its neighbour or ends the process. Importing this package changes nothing.
"""

from __future__ import annotations

from exact_interpreter.errors import InterpreterSetupError, OutOfBoundsError

TRITON = "3.9.0"
"""The one version whose interpreter was mended and checked, bit by bit (tests/interpreter)."""

__all__ = ["TRITON", "InterpreterSetupError", "OutOfBoundsError", "install"]


def install() -> None:
    """Mend the interpreter of this process. A second call does nothing.

    Raises:
        InterpreterSetupError: another Triton than `TRITON`, whose interpreter may differ in what is patched; or Triton
            was imported without `TRITON_INTERPRET=1`, so that its functions are compiled and not interpreted.
    """
    import triton
    from triton import knobs

    if triton.__version__ != TRITON:
        raise InterpreterSetupError(
            f"the interpreter of Triton {triton.__version__} is not known",
            f"Triton {TRITON}, whose interpreter was mended and checked",
            f"pip install triton=={TRITON}",
        )
    if not knobs.runtime.interpret:
        raise InterpreterSetupError(
            "Triton was imported to compile",
            "`TRITON_INTERPRET=1` when the process starts",
            "export TRITON_INTERPRET=1",
        )
    from exact_interpreter import arithmetic, language, memory

    language.install()
    arithmetic.install()
    memory.install()
