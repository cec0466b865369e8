#!/usr/bin/env python3
"""Compile FlashInfer's attention for GLM's shapes with the nvcc that is here; no card is needed.

    ci/compile_flashinfer.py --arch sm90 --libraries .venvs/cuda-libs --out build/flashinfer [--fp8-cache]

One module is built as FlashInfer itself builds it at the first request: ten CUDA files, linked to a library. Says how
long it took and what came of it; exit status 1 where something did not compile. Set MAX_JOBS to the cores to use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from glm_rocm.backends.cuda import environment
from glm_rocm.errors import GlmRocmError, UsageError
from glm_rocm.target import parse_target

HEAD_DIM = 128
DRIVER = "libcuda.so"


def build(arch: str, libraries: Path, out: Path, *, fp8_cache: bool) -> Path:
    """The compiled module.

    Raises:
        UsageError: `libraries` holds no FlashInfer, or the architecture is not NVIDIA's.
        RuntimeError: it does not compile; FlashInfer's own message.
    """
    needed = environment(parse_target(arch))
    if not needed:
        raise UsageError(f"`--arch {arch}`", required="an NVIDIA architecture", hint="--arch sm90")
    if not (libraries / "flashinfer").is_dir():
        raise UsageError(f"no FlashInfer in `{libraries}`", required="its wheel, unpacked", hint="make cuda-libs")
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(needed, FLASHINFER_WORKSPACE_BASE=str(out.resolve()))
    os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(driver_stub(out)), os.environ.get("LIBRARY_PATH")]))
    sys.path.insert(0, str(libraries))
    return Path(module(fp8_cache=fp8_cache))


def module(*, fp8_cache: bool) -> str:
    """Have FlashInfer build its paged prefill module; the library's path."""
    import torch
    from flashinfer.jit import gen_batch_prefill_module

    plain = torch.bfloat16
    cache = torch.float8_e4m3fn if fp8_cache else plain
    spec: Any = gen_batch_prefill_module(
        "fa2", plain, cache, plain, torch.int32, HEAD_DIM, HEAD_DIM, 0, False, False, False
    )
    spec.build(verbose=False)
    return str(spec.get_library_path())


def driver_stub(folder: Path) -> Path:
    """A folder with a libcuda to link against: the driver's is there only on a machine with a card."""
    stubs = folder / "stubs"
    stubs.mkdir(exist_ok=True)
    if not (stubs / DRIVER).exists():
        command = ["g++", "-shared", "-x", "c++", "/dev/null", "-Wl,-soname,libcuda.so.1", "-o", str(stubs / DRIVER)]
        subprocess.run(command, check=True)
    return stubs.resolve()


def exported(library: Path) -> bool:
    """Whether the library has the functions by which FlashInfer calls it; without a driver it cannot be loaded."""
    listed = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True)
    return all(f"__tvm_ffi_{name}" in listed.stdout for name in ("plan", "paged_run"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="sm90")
    parser.add_argument("--libraries", type=Path, default=Path(".venvs/cuda-libs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fp8-cache", action="store_true")
    asked = parser.parse_args()
    begun = time.monotonic()
    try:
        library = build(asked.arch, asked.libraries, asked.out, fp8_cache=asked.fp8_cache)
    except (GlmRocmError, RuntimeError) as error:
        print(str(error)[-3000:], file=sys.stderr)
        return 1
    sound = exported(library)
    size = library.stat().st_size / 1e6
    print(f"{asked.arch}: {library.name}, {size:.1f} MB, {time.monotonic() - begun:.0f} s, exports {sound}")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
