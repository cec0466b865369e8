"""Detection of NVIDIA devices and of the CPU, and that neither imports torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from glm_rocm.errors import TargetError
from glm_rocm.target import detect_target


def write_smi(folder: Path, lines: str, status: int = 0) -> dict[str, str]:
    """A `nvidia-smi` that prints `lines`, and the environment that finds it."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\nexit {status}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("model", "device", "arch"),
    [
        ("NVIDIA H100 80GB HBM3", "h100", "sm90"),
        ("NVIDIA H200", "h200", "sm90"),
        ("NVIDIA A100-SXM4-80GB", "a100", "sm80"),
        ("NVIDIA B200", "b200", "sm100"),
    ],
)
def test_card_of_the_table_by_the_drivers_name(tmp_path, add_nvidia, model, device, arch) -> None:
    for _ in range(8):
        add_nvidia(model)
    target = detect_target(root=tmp_path, environ={})
    assert (target.vendor, target.device, target.arch, target.count) == ("cuda", device, arch, 8)


def test_cuda_visible_devices_narrows_the_count(tmp_path, add_nvidia) -> None:
    for _ in range(4):
        add_nvidia("NVIDIA H100 80GB HBM3")
    assert detect_target(root=tmp_path, environ={"CUDA_VISIBLE_DEVICES": "2,3"}).count == 2


def test_card_outside_the_table_takes_its_numbers_from_nvidia_smi(tmp_path, add_nvidia) -> None:
    add_nvidia("NVIDIA H20")
    environ = write_smi(tmp_path / "bin", "97871, 9.0, NVIDIA H20")
    target = detect_target(root=tmp_path, environ=environ)
    assert (target.device, target.arch, target.memory_bytes) == ("sm90", "sm90", 97871 << 20)
    assert target.fp8_dtype == "float8_e4m3fn"
    assert target.hbm_bytes_per_s is None


def test_without_the_drivers_folder_nvidia_smi_is_asked(tmp_path) -> None:
    environ = write_smi(tmp_path / "bin", "81559, 9.0, NVIDIA H100 80GB HBM3\n81559, 9.0, NVIDIA H100 80GB HBM3")
    target = detect_target(root=tmp_path, environ=environ)
    assert (target.device, target.count) == ("h100", 2)


def test_card_outside_the_table_without_nvidia_smi_is_refused_by_name(tmp_path, add_nvidia) -> None:
    add_nvidia("NVIDIA H20")
    with pytest.raises(TargetError, match="NVIDIA H20"):
        detect_target(root=tmp_path, environ={"PATH": ""})


def test_unknown_compute_capability_is_refused(tmp_path) -> None:
    environ = write_smi(tmp_path / "bin", "16384, 7.0, Tesla V100-SXM2-16GB")
    with pytest.raises(TargetError, match=r"V100.*7\.0"):
        detect_target(root=tmp_path, environ=environ)


def test_nvidia_smi_without_a_driver_leaves_the_cpu(tmp_path) -> None:
    environ = write_smi(tmp_path / "bin", "NVIDIA-SMI has failed", status=9)
    assert detect_target(root=tmp_path, environ=environ).vendor == "cpu"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 64 << 30), ("max", 64 << 30), (str(8 << 30), 8 << 30), (str(1 << 62), 64 << 30)],
)
def test_cpu_memory_is_the_hosts_or_the_control_groups(tmp_path, limit, expected) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal:       {64 << 20} kB\nMemFree:        1024 kB\n")
    if limit is not None:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit + "\n")
    target = detect_target(root=tmp_path, environ={})
    assert (target.vendor, target.device, target.count, target.memory_bytes) == ("cpu", "cpu", 1, expected)


def test_detection_imports_neither_torch_nor_an_engine() -> None:
    program = (
        "import sys; from glm_rocm.target import detect_target; detect_target(); "
        "print([name for name in ('torch', 'vllm', 'transformers', 'amdsmi') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
