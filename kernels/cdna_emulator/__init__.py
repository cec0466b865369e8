"""Executes gfx942 and gfx950 code objects on a CPU. It knows nothing of any model; see README.md.

>>> with cdna_emulator.device("gfx942") as gpu:
...     kernel[grid](x, y, out, n, BLOCK=256)  # Triton's JIT, AMD's machine code, CPU tensors
>>> gpu.launches[-1].counters.instructions
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .code_object import CodeObject as CodeObject
    from .counters import Counters as Counters
    from .counters import LaunchRecord as LaunchRecord
    from .counters import Registers as Registers
    from .counters import Traffic as Traffic
    from .driver import Device as Device
    from .driver import device as device
    from .errors import BuildError as BuildError
    from .errors import CodeObjectError as CodeObjectError
    from .errors import DeadlockError as DeadlockError
    from .errors import DeviceFault as DeviceFault
    from .errors import EmulatorError as EmulatorError
    from .errors import LaunchError as LaunchError
    from .errors import MisalignedError as MisalignedError
    from .errors import OutOfBoundsError as OutOfBoundsError
    from .errors import RaceError as RaceError
    from .errors import TrapError as TrapError
    from .errors import UndefinedReadError as UndefinedReadError
    from .errors import UnsupportedInstruction as UnsupportedInstruction
    from .errors import UseBeforeWaitError as UseBeforeWaitError
    from .program import Options as Options
    from .program import Program as Program

_HOME = {
    "code_object": ("CodeObject",),
    "counters": ("Counters", "LaunchRecord", "Registers", "Traffic"),
    "driver": ("Device", "device"),
    "errors": (
        *("BuildError", "CodeObjectError", "DeadlockError", "DeviceFault", "EmulatorError", "LaunchError"),
        *("MisalignedError", "OutOfBoundsError", "RaceError", "TrapError", "UndefinedReadError"),
        *("UnsupportedInstruction", "UseBeforeWaitError"),
    ),
    "program": ("Options", "Program"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Names are imported when they are used: the package itself costs nothing."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
