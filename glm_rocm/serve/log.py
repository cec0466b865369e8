"""The file that keeps what an engine prints: bounded, and never a reason for the engine to stop."""

from __future__ import annotations

from io import RawIOBase
from pathlib import Path

LIMIT_BYTES = 64 << 20
"""A server that runs for months must not fill a disk: at this size the file becomes `<name>.1` and a new one begins."""


class EngineLog:
    """Opened at once, so that a folder that cannot be written is told before an engine is started. What an earlier run
    left there becomes `<name>.1`.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        self.path = path
        self.limit = limit
        if path.is_file():
            path.replace(self._earlier)
        self.file: RawIOBase | None = path.open("wb", buffering=0)
        self.size = 0

    @property
    def _earlier(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def write(self, text: str) -> None:
        """Append, unbuffered. Where that fails (a full disk) the log ends; the engine's output goes on being read."""
        if self.file is None:
            return
        try:
            data = text.encode()
            self.file.write(data)
            self.size += len(data)
            if self.size >= self.limit:
                self._turn()
        except OSError:
            self.close()
            self.file = None

    def _turn(self) -> None:
        assert self.file is not None
        self.file.close()
        self.path.replace(self._earlier)
        self.file = self.path.open("wb", buffering=0)
        self.size = 0

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
