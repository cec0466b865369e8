"""The targets that every kernel test runs on: `pytest tests/kernels --target gfx942 --target gfx950`.

`target` says what a test runs on; `device` enters it for the length of the test, so that kernels called with tensors on
that device run there. A test that hypothesis drives, or that wants the emulator's checks, enters it by itself:
`with target.run(check_races=True) as gpu`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

EMULATED = ("gfx942", "gfx950")
CARDS = ("cuda", "rocm")
INTERPRET = "interpret"
TARGETS = (INTERPRET, *EMULATED, *CARDS)
FNUZ_ARCHS = ("gfx940", "gfx941", "gfx942")


@dataclass(frozen=True)
class KernelTarget:
    """What a test runs on.

    Attributes:
        name: the word of `--target`.
        arch: `gfx942`, `sm90`, ... or `interpret`, as the launch data name it.
        fp8: the FP8 format that it multiplies in.
        device: where tensors go.
    """

    name: str
    arch: str
    fp8: torch.dtype
    device: torch.device

    def run(self, **options: Any) -> AbstractContextManager[Any]:
        """Kernels launched inside run on this target; gives the emulator's handle, or None where there is none.

        Args:
            options: the emulator's, such as `check_races=True`; the other targets have none and ignore them.
        """
        if self.name in EMULATED:
            import cdna_emulator

            return cdna_emulator.device(self.name, **options)
        if self.name == INTERPRET:
            import exact_interpreter

            exact_interpreter.install()
        return contextlib.nullcontext()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--target",
        action="append",
        choices=TARGETS,
        help="what the kernels run on; may be given again (default: gfx942, gfx950)",
    )
    # Here already: the conftest of a folder below may import Triton before the configuration is read.
    if INTERPRET in (parser.parse_known_args(sys.argv[1:]).target or ()) and "triton" not in sys.modules:
        os.environ["TRITON_INTERPRET"] = "1"


def names(config: pytest.Config) -> tuple[str, ...]:
    """The targets asked for. The option is unknown to a run that did not start in this room: the default then."""
    return tuple(dict.fromkeys(config.getoption("--target", default=None) or EMULATED))


def pytest_configure(config: pytest.Config) -> None:
    wanted = names(config)
    if INTERPRET in wanted:
        if len(wanted) > 1:
            raise pytest.UsageError(
                "error: `--target interpret` beside another target; Triton reads `TRITON_INTERPRET` once a process\n\n"
                "hint: pytest tests/kernels --target interpret"
            )
        if os.environ.get("TRITON_INTERPRET") != "1":
            raise pytest.UsageError(
                "error: Triton was imported before its interpreter could be asked for\n\n"
                "hint: TRITON_INTERPRET=1 pytest tests/kernels --target interpret"
            )
    elif os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise pytest.UsageError(
            "error: `TRITON_INTERPRET` is set, but machine code is to be tested\n\nhint: unset TRITON_INTERPRET"
        )
    for name in wanted:
        if name in CARDS and not _sees(name):
            raise pytest.UsageError(
                f"error: `--target {name}`, but torch {torch.__version__} sees no such card\n\n"
                "hint: pytest tests/kernels --target gfx942"
            )


def _sees(name: str) -> bool:
    return torch.cuda.is_available() and (torch.version.hip is not None) == (name == "rocm")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", names(metafunc.config), indirect=True, scope="session")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> KernelTarget:
    """What this test runs on."""
    return make_target(request.param)


def make_target(name: str) -> KernelTarget:
    """The target of a word of `--target`."""
    arch, device = name, torch.device("cpu")
    if name in CARDS:
        properties = torch.cuda.get_device_properties(0)
        arch = f"sm{properties.major}{properties.minor}" if name == "cuda" else properties.gcnArchName.split(":")[0]
        device = torch.device("cuda", 0)
    fp8 = torch.float8_e4m3fnuz if arch in FNUZ_ARCHS else torch.float8_e4m3fn
    return KernelTarget(name, arch, fp8, device)


@pytest.fixture
def device(target: KernelTarget) -> Iterator[torch.device]:
    """Where this test's tensors go; kernels run on the target until the test ends."""
    with target.run():
        yield target.device


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """References this small lose more to a second thread than it gives, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any, str, str, str], None]:
    """Plant a fault: `plant(module, "gemm", "a - b", "a + b")` launches the kernel as its changed source would be."""
    numbers = itertools.count()

    def change(module: Any, kernel: str, right: str, wrong: str) -> None:
        """Replace `right`, which the kernel's file must hold, and let `module` launch what comes of it."""
        function = getattr(module, kernel).fn
        file = Path(inspect.getfile(function))
        source = file.read_text(encoding="utf-8")
        assert right in source, f"{file.name} has changed: nothing to plant `{wrong}` in place of"
        changed = tmp_path / f"{file.stem}_{next(numbers)}.py"
        changed.write_text(source.replace(right, wrong), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(changed.stem, changed)
        assert spec is not None
        assert spec.loader is not None
        faulty = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, changed.stem, faulty)
        spec.loader.exec_module(faulty)
        monkeypatch.setattr(module, kernel, getattr(faulty, function.__name__))

    return change
