"""Compiles core/*.c once into the user's cache, named by a hash of all that decides what comes out."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

from .errors import BuildError

SOURCES: Final = Path(__file__).with_name("core")
FLAGS: Final = (
    *("-std=c11", "-O3", "-march=native", "-fPIC"),
    # NaN, infinities, denormals and signed zeros matter: no -ffast-math, and no contraction to fma of our own making.
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
WARNINGS: Final = ("-Wall", "-Wextra", "-Werror")
"""For the tests: a compiler of next year, with a warning of its own, must not stop a user."""
COMPILERS: Final = ("cc", "gcc", "clang")
MOST_COMPILERS: Final = 4
"""At a time."""


def cache_folder() -> Path:
    """Where compiled cores and decoded programs are kept: $CDNA_EMULATOR_CACHE, else the user's cache folder."""
    chosen = os.environ.get("CDNA_EMULATOR_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cdna_emulator"


def compiler() -> str:
    """Path of the C compiler: $CC, else the first of `COMPILERS` that is there.

    Raises:
        BuildError: there is none.
    """
    for name in (os.environ.get("CC", ""), *COMPILERS):
        path = shutil.which(name) if name else None
        if path:
            return path
    raise BuildError("no C compiler", required="`cc`, `gcc` or `clang` on the PATH, or $CC", hint="apt-get install gcc")


def _identity(path: str) -> bytes:
    """What decides the machine code besides sources and flags: the compiler's version and the CPU that native means."""
    version = subprocess.run([path, "--version"], capture_output=True, check=False).stdout
    target = subprocess.run(
        [path, "-march=native", "-E", "-v", "-"], input=b"", capture_output=True, check=False
    ).stderr
    lines = [line for line in target.splitlines() if b"march" in line or b"-target-cpu" in line or b"mtune" in line]
    return version + b"\n".join(lines)


def build() -> Path:
    """The shared library of the core, compiled if it is not in the cache.

    Raises:
        BuildError: no compiler, no place to write, or the compiler refuses the sources.
    """
    path = compiler()
    identity = " ".join(FLAGS).encode() + _identity(path)
    for header in sorted(SOURCES.glob("*.h")):
        identity += header.name.encode() + b"\0" + header.read_bytes()
    objects = {}  # object -> source
    for source in sorted(SOURCES.glob("*.c")):
        digest = hashlib.sha256(identity + source.name.encode() + b"\0" + source.read_bytes())
        objects[cache_folder() / "objects" / f"{source.stem}-{digest.hexdigest()[:24]}.o"] = source
    names = " ".join(each.name for each in objects)
    library = cache_folder() / f"core-{hashlib.sha256(names.encode()).hexdigest()[:24]}.so"
    if library.exists():
        return library
    missing = [(each, source) for each, source in objects.items() if not each.exists()]
    with ThreadPoolExecutor(max_workers=min(MOST_COMPILERS, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda each: _make([path, *FLAGS, "-c", str(each[1])], each[0]), missing))
    _make([path, "-shared", *map(str, objects), "-lm"], library)
    return library


def _make(command: list[str], result: Path) -> None:
    """Run a compiler that writes `result`; whoever else makes it at this moment replaces it with the same."""
    try:
        result.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=result.parent, suffix=".part")
    except OSError as error:
        raise BuildError(
            f"cannot write to `{result.parent}` ({error.strerror})",
            required="a folder for the compiled core",
            hint="export CDNA_EMULATOR_CACHE=/some/writable/folder",
        ) from error
    os.close(handle)
    try:
        done = subprocess.run([*command, "-o", partial], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(
                f"`{command[0]}` does not compile the core:\n{done.stderr.strip()[:2000]}",
                required="a C11 compiler for this CPU",
                hint="CC=gcc",
            )
        os.replace(partial, result)
    finally:
        Path(partial).unlink(missing_ok=True)


@cache
def load() -> ctypes.CDLL:
    """The core, in this process.

    Raises:
        BuildError: see `build`; or the library does not load.
    """
    library = build()
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise BuildError(f"`{library}` does not load: {error}", hint=f"rm {library}") from error
