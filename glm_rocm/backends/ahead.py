"""Fill a Triton cache with our kernels for a card that is not here, and refuse one that this Triton would not use.

Triton finds a kernel by a digest of its own files, the kernel's source, the specialisation and a few variables; and it
keeps absolute paths. So a cache is of use to the same Triton, the same kernels and the same folder: `MANIFEST` in the
folder says of which, and `check` holds it to what is here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from glm_rocm.errors import EngineError, GlmRocmError, UsageError
from glm_rocm.target.cards import ARCHS

MANIFEST = "glm-rocm.json"
COMPILED_FOR = ("gfx942", "gfx950")
"""The architectures of `rocm.py`'s kernels."""
OPS = ("attention", "moe", "linear", "norm_rope", "quant")
HINT = "glm-rocm compile --arch {archs} --out {folder}"


class CacheError(EngineError):
    """A Triton cache that this environment would not use."""

    exit_code = 1


@dataclass(frozen=True)
class Stamp:
    """What a cache depends on.

    Attributes:
        triton: version and digest of the installed Triton, all of its files that its own key covers.
        kernels: digest of our kernels' source and launch choices.
        variables: those that Triton makes part of a kernel's key, such as `TRITON_DEFAULT_FP_FUSION`.
        folder: where the cache lies; Triton writes it into the cache.
    """

    triton: str
    kernels: str
    variables: str
    folder: str


@dataclass
class Filled:
    """What came of filling a cache.

    Attributes:
        compiled: kernels that were compiled.
        found: kernels that the cache had already.
        refused: calls that an architecture cannot have, with the reason.
    """

    folder: str
    archs: list[str]
    compiled: int = 0
    found: int = 0
    refused: list[str] = field(default_factory=list)


def fill(
    folder: Path, archs: Sequence[str], ops: Sequence[str] = (), tell: Callable[[str], None] = lambda text: None
) -> Filled:
    """Compile what a rank of GLM-4.5, 4.6 and 4.5-Air launches on `archs` into `folder`, whose Triton cache it becomes.

    Args:
        folder: made where it is not there. What an earlier run compiled is found, not compiled again.
        archs: some of `COMPILED_FOR`.
        ops: some of `OPS`; all by default.
        tell: is told each call.

    Raises:
        UsageError: an unknown architecture or op.
        EngineError: there is no Triton, or it is an interpreter here.
    """
    _known("--arch", archs, COMPILED_FOR)
    _known("--op", ops, OPS)
    folder = folder.absolute()
    stamp = stamp_of(folder)
    import torch
    from triton import knobs

    from glm_rocm_kernels.calls import served_calls
    from glm_rocm_kernels.compiling import compiling, counted
    from glm_rocm_kernels.errors import LaunchRefusedError

    folder.mkdir(parents=True, exist_ok=True)
    filled = Filled(str(folder), list(archs))
    before = knobs.cache.dir
    knobs.cache.dir = str(folder)
    try:
        for arch in archs:
            for call in served_calls(getattr(torch, ARCHS[arch].fp8_dtype or "float8_e4m3fn")):
                if ops and call.op not in ops:
                    continue
                tell(f"{arch} {call.op}: {call.name}")
                with compiling(arch), counted() as count:
                    try:
                        call.run()
                    except LaunchRefusedError as refusal:
                        filled.refused.append(str(refusal))
                filled.compiled += count.compiled
                filled.found += count.found
    finally:
        knobs.cache.dir = before
    written = {**asdict(stamp), "archs": sorted({*archs, *_archs_before(folder, stamp)})}
    (folder / MANIFEST).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return filled


def check(folder: Path) -> list[str]:
    """Whether this environment would use the cache in `folder`; the architectures that it is for.

    Raises:
        CacheError: no manifest, or one of another Triton, other kernels, other variables or another folder.
        EngineError: there is no Triton here.
    """
    folder = folder.absolute()
    manifest = folder / MANIFEST
    hint = HINT.format(archs=",".join(COMPILED_FOR), folder=folder)
    if not manifest.is_file():
        raise CacheError(f"no `{MANIFEST}` in `{folder}`", required="a cache that `compile` filled", hint=hint)
    try:
        written = json.loads(manifest.read_text(encoding="utf-8"))
        archs = [str(arch) for arch in written["archs"]]
        made = Stamp(**{name: str(written[name]) for name in Stamp.__dataclass_fields__})
    except (ValueError, LookupError, TypeError) as error:
        raise CacheError(
            f"`{manifest}` cannot be read: {error}", required="as `compile` wrote it", hint=hint
        ) from error
    here = stamp_of(folder)
    for name in Stamp.__dataclass_fields__:
        found, required = getattr(made, name), getattr(here, name)
        if found != required:
            raise CacheError(
                f"the kernels in `{folder}` were compiled with {name} `{found}`",
                required=f"`{required}`, what is here: Triton would compile anew",
                hint=hint,
            )
    return archs


def _read(manifest: Path) -> tuple[Stamp, list[str]]:
    written = json.loads(manifest.read_text(encoding="utf-8"))
    stamp = Stamp(**{name: str(written[name]) for name in Stamp.__dataclass_fields__})
    return stamp, [str(arch) for arch in written["archs"]]


def _archs_before(folder: Path, stamp: Stamp) -> list[str]:
    """What an earlier run compiled that is of the same stamp."""
    try:
        made, archs = _read(folder / MANIFEST)
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return archs if made == stamp else []


def stamp_of(folder: Path) -> Stamp:
    """What a cache in `folder` depends on, as it is in this environment.

    Raises:
        EngineError: there is no Triton, or kernels run in its interpreter here.
    """
    try:
        import triton
        from triton.runtime import cache
    except ImportError as error:
        raise EngineError(
            "no Triton here", required="the Triton of the image", hint="pip install 'glm-rocm[emulator]'"
        ) from error
    from glm_rocm_kernels._triton import INTERPRETING

    if INTERPRETING:
        raise EngineError("`TRITON_INTERPRET` is set: nothing would be compiled", hint="unset TRITON_INTERPRET")
    key = hashlib.sha256(cache.triton_key().encode()).hexdigest()[:16]
    return Stamp(f"{triton.__version__} {key}", _kernels_digest(), _variables(), str(folder.absolute()))


def _kernels_digest() -> str:
    """Of each file of our kernels, by name and content."""
    import glm_rocm_kernels

    root = Path(str(glm_rocm_kernels.__file__)).parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".json")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _variables() -> str:
    """Those that are set of the variables that Triton compiles by, apart from the folders."""
    unrelated = ("TRITON_CACHE_DIR", "TRITON_HOME")
    names = sorted(name for name in os.environ if name.startswith("TRITON_") and name not in unrelated)
    return " ".join(f"{name}={os.environ[name]}" for name in names) or "none"


def _known(flag: str, given: Sequence[str], known: Sequence[str]) -> None:
    for word in given:
        if word not in known:
            raise UsageError(
                f"`{flag} {word}`",
                required="one of " + ", ".join(f"`{name}`" for name in known),
                hint=f"glm-rocm compile {flag} {known[0]} --out DIR",
            )


def usable(folder: Path) -> tuple[bool, str, str]:
    """`check` as a value: whether the cache is used, what is found, and the cure."""
    try:
        archs = check(folder)
    except GlmRocmError as error:
        return False, error.sentence, error.hint
    return True, f"`{folder}`, kernels for {', '.join(archs)}", ""
