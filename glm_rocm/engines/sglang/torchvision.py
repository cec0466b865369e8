"""Have `import torchvision` succeed beside a CPU build of torch, which SGLang 0.5.23 needs in order to start at all.

SGLang imports torchvision when it lists the configs of its models (`configs/nano_nemotron_vl`), whatever is served. The
wheel on PyPI is built against a CUDA torch: beside another one its C++ library does not load, torchvision goes on
without it, and then stops at the description of an operator that the library would have defined. GLM needs no picture.
So where the library does not load, the three operators that torchvision describes are declared, with no implementation
behind them: whoever calls one is told so by torch. Where it loads, as in an accelerator's image, nothing is done.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
)
"""As torchvision 0.28 declares those that its `_meta_registrations` describes."""

_declared: list[object] = []
"""Keeps the declarations alive: torch takes them back when their library object is freed."""


class _Watcher(MetaPathFinder):
    """Sees the first import of torchvision coming, and finds no module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            if not _library_loads():
                _declare()
        return None


def watch() -> None:
    """From now on, declare torchvision's operators before it is imported, where it cannot do so itself. Re-entrant."""
    if "torchvision" not in sys.modules and not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())


def _library_loads() -> bool:
    """Whether the C++ library of the installed torchvision loads beside this torch; True where there is neither."""
    import torch

    found = PathFinder.find_spec("torchvision")
    places = found.submodule_search_locations if found else None
    libraries = [library for place in places or () for library in Path(place).glob("_C*.so")]
    try:
        for library in libraries:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError):
        return False
    return True


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in OPERATORS:
        library.define(operator)  # type: ignore[no-untyped-call]
    _declared.append(library)
