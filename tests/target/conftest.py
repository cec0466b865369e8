"""Trees of /sys and /proc as the drivers write them, so that tests run the real parsers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# All properties of a KFD node in the order of the kernel driver (drivers/gpu/drm/amd/amdkfd/kfd_topology.c), MI300X.
MI300X = {
    "cpu_cores_count": 0,
    "simd_count": 1216,
    "mem_banks_count": 1,
    "caches_count": 626,
    "io_links_count": 8,
    "p2p_links_count": 0,
    "cpu_core_id_base": 0,
    "simd_id_base": 2147487744,
    "max_waves_per_simd": 8,
    "lds_size_in_kb": 64,
    "gds_size_in_kb": 0,
    "num_gws": 64,
    "wave_front_size": 64,
    "array_count": 32,
    "simd_arrays_per_engine": 1,
    "cu_per_simd_array": 10,
    "simd_per_cu": 4,
    "max_slots_scratch_cu": 32,
    "gfx_target_version": 90402,
    "vendor_id": 4098,
    "device_id": 29857,
    "location_id": 3072,
    "domain": 0,
    "drm_render_minor": 128,
    "num_sdma_engines": 2,
    "num_xcc": 8,
    "max_engine_clk_fcompute": 2100,
    "local_mem_size": 0,
}

MIB = 1 << 20

AddNode = Callable[..., Path]
AddNvidia = Callable[[str], None]


@pytest.fixture
def add_node(tmp_path: Path) -> AddNode:
    """Add a KFD node: the MI300X's properties with `changed` over them; `vram` in MiB, in a memory bank of its own."""

    def add(number: int, *, vram: int | None = 196592, base: dict[str, int] = MI300X, **changed: int) -> Path:
        node = tmp_path / "sys/class/kfd/kfd/topology/nodes" / str(number)
        node.mkdir(parents=True)
        lines = (f"{name} {value}\n" for name, value in {**base, **changed}.items())
        (node / "properties").write_text("".join(lines))
        if vram is not None:
            bank = node / "mem_banks/0"
            bank.mkdir(parents=True)
            (bank / "properties").write_text(
                f"heap_type 1\nsize_in_bytes {vram * MIB}\nflags 0\nwidth 8192\nmem_clk_max 1300\n"
            )
        return node

    return add


@pytest.fixture
def add_nvidia(tmp_path: Path) -> AddNvidia:
    """Add a GPU to the NVIDIA driver's folder by the name it reports."""

    def add(model: str) -> None:
        gpus = tmp_path / "proc/driver/nvidia/gpus"
        gpu = gpus / f"0000:{len(list(gpus.glob('*'))):02x}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(
            f"Model: \t\t {model}\nIRQ:   \t\t 124\nGPU UUID: \t GPU-0f2d\nBus Type: \t PCIe\nDevice Minor: \t 0\n"
        )

    return add
