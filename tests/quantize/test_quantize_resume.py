"""A writer killed for good: nothing half-made under the destination's name, and the next run goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm.quantize import quantize_checkpoint

WRITER = """
import sys
from glm_rocm.quantize import quantize_checkpoint
quantize_checkpoint(sys.argv[1], sys.argv[2], progress=lambda step: print(step.shards_done, flush=True))
"""


def kill_after(shards: int, src: Path, dst: Path) -> None:
    """Run the writer in a process of its own and SIGKILL it as soon as it says that `shards` are done."""
    command = [sys.executable, "-c", WRITER, str(src), str(dst)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= shards:
                writer.kill()
                break
        assert writer.wait(timeout=60) == -signal.SIGKILL, "the writer was done before it could be killed"


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_and_is_resumed_to_the_same_bytes(large_source: Path, tmp_path: Path) -> None:
    destination, workspace = tmp_path / "fp8", tmp_path / ".fp8.quantizing"
    for shards in (1, 3):
        kill_after(shards, large_source, destination)
        assert not destination.exists()
        assert workspace.is_dir()
    steps = []
    report = quantize_checkpoint(large_source, destination, progress=lambda step: steps.append(step.shards_done))
    assert report.resumed >= 3
    assert steps[0] == report.resumed
    assert steps[-1] == report.shards == 8
    assert not workspace.exists()

    whole = quantize_checkpoint(large_source, tmp_path / "whole")
    assert whole.resumed == 0
    assert (report.worst_error, report.worst_tensor) == (whole.worst_error, whole.worst_tensor)
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert names == sorted(file.name for file in destination.iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (destination / name).read_bytes(), name


LIMITED = """
import resource, signal, sys
from glm_rocm.errors import CheckpointError
from glm_rocm.quantize import quantize_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    quantize_checkpoint(sys.argv[1], sys.argv[2])
except CheckpointError as error:
    print(error)
"""


def test_a_write_that_fails_is_an_error_of_ours_and_can_be_repeated(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    """The kernel refuses to let a file grow, as a full disk would."""
    folder = source(shards=2)
    sizes = sorted(file.stat().st_size for file in folder.glob("*.safetensors"))
    command = [sys.executable, "-c", LIMITED, str(folder), str(tmp_path / "fp8"), str(sizes[0] // 4)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("error: `model-00001-of-00002.safetensors` cannot be written")
    assert "hint:" in done.stdout
    assert not (tmp_path / "fp8").exists()
    assert quantize_checkpoint(folder, tmp_path / "fp8").shards == 2
