"""Decoded programs, kept on disk: decoding takes longer than most launches."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import core
from .build import cache_folder
from .decode import Decoder, decoder_version
from .insn import INSN

_DIGEST_BYTES = 32


def decoded(text: bytes, entry: int, kernel: str) -> npt.NDArray[np.void]:
    """The records of a text section, from the disk if they are there.

    A file that is damaged is as good as none; a folder that cannot be written is no error.

    Args:
        text: machine code.
        entry: byte offset at which the kernel starts.
        kernel: its name, for errors.

    Raises:
        UnsupportedInstruction: see `Decoder.decode`.
    """
    path = cache_folder() / "programs" / f"{_key(text, entry)}.bin"
    found = _read(path)
    if found is None:
        found = _decoder().decode(text, entry=entry, kernel=kernel)
        _write(path, found)
    return found


@cache
def _decoder() -> Decoder:
    return Decoder(core.operations())


@cache
def _table() -> bytes:
    """What the decoder knows of the core: a record's operation is an index into it."""
    return repr([(name, each.index, each.allows) for name, each in core.operations().items()]).encode()


def _key(text: bytes, entry: int) -> str:
    return hashlib.sha256(b"\0".join([decoder_version().encode(), _table(), str(entry).encode(), text])).hexdigest()


def _read(path: Path) -> npt.NDArray[np.void] | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if not body or len(body) % INSN.itemsize or hashlib.sha256(body).digest() != digest:
        return None
    return np.frombuffer(bytearray(body), INSN)


def _write(path: Path, code: npt.NDArray[np.void]) -> None:
    body = code.tobytes()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(body).digest() + body)
            os.replace(partial, path)
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise
