"""Memory that nobody wrote holds no result of an earlier call.

`torch.empty` hands out what was freed: after one contender ran, its results may lie where the next one's will. A
workgroup that did not run, or an element that a kernel forgot, would then look right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_MAKERS = (_ATEN.empty, _ATEN.empty_like, _ATEN.empty_strided, _ATEN.new_empty, _ATEN.new_empty_strided)
BYTE = 0xFF
"""NaN in every float but `float8_e4m3fnuz`, where it is -240; -1 in an integer."""


class Poisoned(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While open, new memory is filled with `BYTE`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in _MAKERS and made.device.type == "cpu":
            torch.empty(0, dtype=torch.uint8).set_(made.untyped_storage()).fill_(BYTE)
        return made
