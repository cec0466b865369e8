"""What this machine has for serving GLM, what it lacks, and the command that mends it. Looks; changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glm_rocm.backends import ahead, emulation
from glm_rocm.engines import check_installed, engine_names, get_engine
from glm_rocm.engines.base import Engine
from glm_rocm.errors import EngineError, GlmRocmError, TargetError
from glm_rocm.target import Target, detect_target, nodes

State = Literal["good", "missing", "advice", "absent"]
"""`missing` is needed to serve and fails the check; `advice` works but not well; `absent` is not needed here."""

HOOKS = "hooks of"
"""How the area of an engine's hooks begins."""

GIB = 1 << 30
SHM_BYTES = 8 * GIB
"""RCCL and NCCL pass buffers between ranks through /dev/shm; a container's default of 64 MiB ends in a bus error."""
CACHE_BYTES = 20 * GIB
PACKAGES = ("torch", "triton", "transformers", "compressed-tensors", "safetensors", "huggingface-hub")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `cure` is a command or a sentence that names one; empty where the state is good."""

    area: str
    name: str
    state: State
    found: str
    cure: str = ""


def examine(*, environ: Mapping[str, str], hooks: bool = True, root: Path = Path("/")) -> list[Finding]:
    """Everything, in the order in which a person would look.

    Args:
        environ: the environment, for the hub's cache folder.
        hooks: hold each installed engine's hooks against the engine, which imports it (some seconds).
        root: where `dev`, `proc` and `sys` lie.
    """
    findings = [_python(), _compiler(environ)]
    try:
        target = detect_target(root=root, environ=environ)
    except TargetError as error:
        findings.append(Finding("machine", "accelerator", "missing", error.sentence, error.hint))
        target = None
    if target is not None:
        findings.append(Finding("machine", "accelerator", "good", target.describe()))
        findings += _limits(target, root)
        findings += _driver(target, root)
    findings += [_package(name) for name in PACKAGES]
    if target is not None:
        findings += _torch_build(target)
    findings += _engines(hooks, target.vendor if target else "cpu")
    findings += [_emulation(), *_compiled(environ), _cache(environ, root), _pocket()]
    return findings


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing that serving needs is missing."""
    return all(finding.state != "missing" for finding in findings)


def _python() -> Finding:
    found = sys.version.split()[0]
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("machine", "python", "good" if fits else "missing", found, "" if fits else "use Python 3.11 to 3.13")


def _driver(target: Target, root: Path) -> Iterator[Finding]:
    """The device nodes of the target's vendor, whether this user may open them, and what drives them."""
    if target.vendor == "cpu":
        if nodes.hidden_card(root):
            found = "the host has an AMD card (`/sys/class/kfd`), and there is no `/dev/kfd` here"
            cure = f"`docker run {nodes.AMD_FLAGS}`; on the host: load the vendor's driver"
            yield Finding("driver", "device nodes", "advice", found, cure)
        else:
            yield Finding("driver", "device nodes", "absent", "a CPU needs none")
        return
    wanted = nodes.device_nodes(target, root)
    there = [node for node in wanted if node.exists()]
    if len(wanted) < 2 or there != wanted:
        lacking = next((node for node in wanted if not node.exists()), root / "dev/dri/renderD128")
        flags = nodes.AMD_FLAGS if target.vendor == "rocm" else nodes.NVIDIA_FLAGS
        cure = f"in a container: `docker run {flags}`; on the host: load the vendor's driver"
        yield Finding("driver", "device nodes", "missing", f"no `/{lacking.relative_to(root)}`", cure)
    elif closed := [node for node in there if not os.access(node, os.R_OK | os.W_OK)]:
        yield _closed(closed[0], root)
    else:
        yield Finding("driver", "device nodes", "good", f"{len(there)}, all may be opened")
    if target.vendor == "rocm":
        yield _stack(target, nodes.amd_stack(root))


def _closed(node: Path, root: Path) -> Finding:
    """A node that is there and may not be opened; the group by its number, which alone means the same in an image."""
    number, name = nodes.group_of(node)
    group = f"group {number}" + (f" (`{name}`)" if name else "")
    found = f"`/{node.relative_to(root)}` belongs to {group}, which this user is not in"
    on_host = f"sudo usermod -aG {name or number},video $USER, then log in again"
    cure = f"`docker run --group-add {number}`" if nodes.in_container(root) else on_host
    return Finding("driver", "device nodes", "missing", found, cure)


def _stack(target: Target, stack: nodes.Stack) -> Finding:
    """Driver and ROCm as a pair."""
    found = f"amdgpu {stack.driver or 'unknown'}, ROCm {stack.rocm or 'unknown: no `/opt/rocm`'}"
    if stack.fits(target.arch):
        return Finding("driver", "driver and ROCm", "good" if stack.driver and stack.rocm else "absent", found)
    first = ".".join(map(str, nodes.FIRST_ROCM[target.arch]))
    cure = f"`docker run` an image with ROCm {first} or later; docs/containers.md names it"
    return Finding("driver", "driver and ROCm", "missing", f"{found}; {target.arch} needs ROCm {first}", cure)


def _limits(target: Target, root: Path) -> Iterator[Finding]:
    if target.vendor == "cpu":
        return
    shm = root / "dev/shm"
    size = os.statvfs(shm).f_frsize * os.statvfs(shm).f_blocks if shm.exists() else 0
    enough = target.count == 1 or size >= SHM_BYTES
    cure = "" if enough else "`docker run --ipc host` or `--shm-size 16g`"
    yield Finding("machine", "/dev/shm", "good" if enough else "missing", f"{size / GIB:.1f} GiB", cure)
    locked = _locked_memory(root)
    free = locked in ("unlimited", "")
    found = "unlimited" if free else f"{int(locked) // 1024} KiB"
    cure = "" if free else "`docker run --ulimit memlock=-1`, or `ulimit -l unlimited`"
    yield Finding("machine", "locked memory", "good" if free else "advice", found, cure)


def _locked_memory(root: Path) -> str:
    """`unlimited`, or bytes; empty where the kernel does not say."""
    limits = root / "proc/self/limits"
    lines = limits.read_text().splitlines() if limits.exists() else []
    return next((line.split()[3] for line in lines if line.startswith("Max locked memory")), "")


def _compiler(environ: Mapping[str, str]) -> Finding:
    found = next(
        (path for name in ("cc", "gcc", "clang") if (path := shutil.which(name, path=environ.get("PATH")))), None
    )
    if found:
        return Finding("machine", "C compiler", "good", found)
    return Finding(
        "machine", "C compiler", "advice", "none; Triton builds its launchers with one", "apt-get install gcc"
    )


def _package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding("packages", name, "absent", "not installed")
    return Finding("packages", name, "good", version)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_build(target: Target) -> Iterator[Finding]:
    """Whether the installed torch was built for the accelerator, by its local version (`2.13.0+rocm7.2`)."""
    version = _version("torch")
    if version is None or target.vendor == "cpu":
        return
    mark = {"rocm": "rocm", "cuda": "cu"}[target.vendor]
    local = version.partition("+")[2]
    # A build from source (vendors' images) has `+git...` or nothing: that is not for us to judge.
    wrong = local == "cpu" or (local.startswith(("rocm", "cu")) and not local.startswith(mark))
    if wrong:
        found = f"`{version}` is not a {target.vendor} build"
        yield Finding(
            "packages", "torch build", "missing", found, "use the vendor's image, or its wheel index for torch"
        )


def _engines(hooks: bool, vendor: str) -> Iterator[Finding]:
    engines = [get_engine(name) for name in engine_names()]
    serving = [engine for engine in engines if engine.serves]
    if all(engine.found_version() is None for engine in serving):
        names = " or ".join(engine.name for engine in serving)
        yield Finding("engines", "serving engine", "missing", f"no {names}", _cure(serving[0], vendor))
    later: list[Finding] = []
    for engine in engines:
        supported = f"supported: {engine.supported}"
        version = engine.found_version()
        if version is None:
            yield Finding("engines", engine.name, "absent", f"not installed; {supported}")
        elif cure := _cure(engine, vendor):
            state: State = "missing" if engine.serves else "advice"
            yield Finding("engines", engine.name, state, f"{version}; {supported}", cure)
        elif hooks:
            found, of_hooks = _hooks(engine, version)
            yield found
            later += of_hooks
        else:
            yield Finding("engines", engine.name, "good", f"{version}; {supported}")
    yield from later


def _cure(engine: Engine, vendor: str) -> str:
    """The command that installs the engine as it must be; empty where it is so."""
    try:
        check_installed(engine, vendor)
    except EngineError as error:
        return error.hint
    return ""


def _hooks(engine: Engine, version: str) -> tuple[Finding, list[Finding]]:
    """What is said of the engine, and of each of its hooks."""
    try:
        contracts = engine.contracts()
    except GlmRocmError as error:
        return Finding("engines", engine.name, "missing", error.sentence, error.hint), []
    held = sum(contract.holds for contract in contracts)
    broken = held < len(contracts)
    found = f"{version}; supported: {engine.supported}; {held} of {len(contracts)} hooks hold"
    cure = f"pip install '{engine.name}{engine.supported}'" if broken else ""
    details = [
        Finding(
            f"{HOOKS} {engine.name}",
            contract.hook,
            "good" if contract.holds else "missing",
            contract.purpose if contract.holds else f"required {contract.required}; found {contract.found}",
        )
        for contract in contracts
    ]
    return Finding("engines", engine.name, "missing" if broken else "good", found, cure), details


def _emulation() -> Finding:
    """Whether `--emulate` can run the kernels of a card that is not here."""
    words = ", ".join(emulation.CARDS)
    try:
        for word in emulation.CARDS:
            emulation.check(word)
    except EngineError as error:
        return Finding("emulation", "`--emulate`", "absent", error.sentence, error.hint)
    return Finding("emulation", "`--emulate`", "good", f"{words}, with triton {emulation.TRITON}")


def _compiled(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether kernels that an image brings are those that its Triton would use; nothing where it brings none."""
    folder = Path(environ.get("TRITON_CACHE_DIR") or "/nowhere")
    if (folder / ahead.MANIFEST).exists():
        good, found, cure = ahead.usable(folder)
        yield Finding("files", "compiled kernels", "good" if good else "advice", found, cure)


def _cache(environ: Mapping[str, str], root: Path) -> Finding:
    """The hub's cache folder: there or creatable, writable, and what its disk has left."""
    home = Path(environ.get("HF_HOME") or Path(environ.get("HOME", "/")) / ".cache/huggingface")
    folder = Path(environ.get("HF_HUB_CACHE") or home / "hub")
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    mount = f"`docker run -v FOLDER:{home}`, FOLDER being {{}}" if nodes.in_container(root) else "set HF_HOME to {}"
    if not os.access(existing, os.W_OK):
        cure = mount.format("a folder that this user can write")
        return Finding("files", "hub cache", "advice", f"`{folder}` cannot be written", cure)
    free = shutil.disk_usage(existing).free
    if free < CACHE_BYTES:
        found = f"`{folder}`, {free / GIB:.0f} GiB free: room for the pocket GLM alone"
        return Finding("files", "hub cache", "advice", found, mount.format("on a larger disk"))
    return Finding("files", "hub cache", "good", f"`{folder}`, {free / GIB:.0f} GiB free")


def _pocket() -> Finding:
    from glm_rocm.pocket import checkpoint_path

    path = checkpoint_path()
    if (path / "config.json").exists():
        return Finding("files", "pocket GLM", "good", f"`{path}`")
    return Finding(
        "files", "pocket GLM", "missing", f"no checkpoint in `{path}`", "pip install --force-reinstall glm-rocm"
    )
