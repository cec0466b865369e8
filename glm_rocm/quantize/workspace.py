"""The folder beside the destination in which a checkpoint grows: locked, resumable, and renamed when whole.

.NAME.quantizing/checkpoint/    the shards finished so far, later the whole checkpoint
.NAME.quantizing/finished/      one JSON per finished shard: what it was made from and what became of it
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from glm_rocm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from glm_rocm.quantize.shards import ShardResult


class Workspace:
    """See the module. Made by `open_workspace`; holds the lock as long as it is open."""

    def __init__(self, root: Path, destination: Path) -> None:
        self.root = root
        self.destination = destination
        self.checkpoint = root / "checkpoint"
        self._finished = root / "finished"
        self.checkpoint.mkdir(exist_ok=True)
        self._finished.mkdir(exist_ok=True)

    def finished(self, shard: str, fingerprint: str) -> ShardResult | None:
        """What an earlier run made of the shard called `shard`, if it was whole and made from the same file."""
        from glm_rocm.quantize.shards import ShardResult

        try:
            record = json.loads(self._record(shard).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if record.pop("fingerprint", None) != fingerprint or not (self.checkpoint / shard).is_file():
            return None
        return ShardResult(**record)

    def finish(self, shard: str, fingerprint: str, result: ShardResult) -> None:
        """Note that the shard is whole. Only now does a later run trust it."""
        self.write(self._record(shard), json.dumps({"fingerprint": fingerprint, **asdict(result)}))

    def forget_strangers(self, shards: set[str]) -> None:
        """Remove what no shard of this source accounts for: leftovers of another source, of a killed writer."""
        for file in self.checkpoint.iterdir():
            if file.name not in shards:
                file.unlink()

    def write(self, file: Path, text: str) -> None:
        """The text, whole or not at all."""
        unfinished = file.with_name(file.name + ".unfinished")
        with unfinished.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(file)

    def deliver(self) -> None:
        """Give the whole checkpoint its name in one step, and clear away the rest."""
        _sync(self.checkpoint)
        # Onto an empty folder this is a rename as well; onto anything else it fails, and nothing is lost.
        self.checkpoint.rename(self.destination)
        _sync(self.destination.parent)
        shutil.rmtree(self.root)

    def leave(self) -> None:
        """Clear away a workspace in which no shard was finished: there is nothing to go on from."""
        if self._finished.is_dir() and not any(self._finished.iterdir()):
            shutil.rmtree(self.root)

    def _record(self, shard: str) -> Path:
        return self._finished / f"{shard}.json"


@contextmanager
def open_workspace(destination: Path) -> Iterator[Workspace]:
    """The workspace of `destination`, new or as an interrupted run left it, locked against a second writer.

    Raises:
        UsageError: the destination is there and not an empty folder, or its parent is no folder.
        CheckpointError: another process is writing it.
    """
    _require_vacant(destination)
    root = destination.with_name(f".{destination.name}.quantizing")
    try:
        root.mkdir(exist_ok=True)
        lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(
            f"nothing can be written under `{destination.parent}` ({error.strerror})",
            required="a destination in a folder that this user may write to",
            hint=f"ls -ld {destination.parent}",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"another process is writing `{destination}`",
                required="one writer at a time",
                hint="wait for it, or name another destination",
            ) from error
        _require_vacant(destination)  # the other writer may have delivered between the first look and the lock
        workspace = Workspace(root, destination)
        try:
            yield workspace
        finally:
            workspace.leave()
    finally:
        os.close(lock)


def require_space(folder: Path, needed: int) -> None:
    """Refuse before the first byte where `folder`'s disk does not hold `needed` more bytes.

    Raises:
        CheckpointError: with both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{free / 1e9:.1f} GB are free under `{folder}`",
            required=f"{needed / 1e9:.1f} GB for the quantised checkpoint",
            hint=f"make room (`df -h {folder}`), or name a destination on another disk",
        )


def _require_vacant(destination: Path) -> None:
    if destination.is_dir():
        if not any(destination.iterdir()):
            return
        found = f"`{destination}` is there and not empty"
    elif destination.exists() or destination.is_symlink():
        found = f"`{destination}` is there and no folder"
    elif not destination.parent.is_dir():
        raise UsageError(
            f"`{destination.parent}` is no folder",
            required="a destination in a folder that is there",
            hint=f"mkdir -p {destination.parent}",
        )
    else:
        return
    raise UsageError(
        found,
        required="a new name: nothing is ever overwritten",
        hint=f"name another destination, such as `{destination}-2`",
    )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
