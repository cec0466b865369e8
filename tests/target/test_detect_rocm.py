"""Detection of AMD devices from the kernel driver's topology."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glm_rocm.errors import TargetError
from glm_rocm.target import detect_target, gfx_name


def detect(root: Path, **environ: str):
    return detect_target(root=root, environ=environ)


def test_eight_mi300x_behind_two_cpu_nodes(tmp_path, add_node) -> None:
    for number in (0, 1):
        add_node(
            number, base={"cpu_cores_count": 96, "simd_count": 0, "gfx_target_version": 0, "vendor_id": 0}, vram=None
        )
    for number in range(2, 10):
        add_node(number)
    target = detect(tmp_path)
    assert (target.vendor, target.arch, target.device, target.count) == ("rocm", "gfx942", "mi300x", 8)
    assert (target.fp8_dtype, target.compute_units, target.wave) == ("float8_e4m3fnuz", 304, 64)
    assert target.memory_bytes == 206141652992
    assert not target.stated


@pytest.mark.parametrize(
    ("device", "changed"),
    [
        ("mi325x", {"device_id": 0x74A5, "vram": 262128}),
        ("mi308x", {"device_id": 0x74A2, "simd_count": 320}),
        ("mi350x", {"device_id": 0x75A0, "simd_count": 1024, "gfx_target_version": 90500, "vram": 294896}),
        ("mi355x", {"device_id": 0x75A3, "simd_count": 1024, "gfx_target_version": 90500, "vram": 294896}),
        ("mi250x", {"device_id": 0x7408, "simd_count": 440, "gfx_target_version": 90010, "vram": 65520}),
        (
            "rx7900",
            {"device_id": 0x744C, "simd_count": 192, "simd_per_cu": 2, "gfx_target_version": 110000, "vram": 24560},
        ),
        (
            "rx9070",
            {"device_id": 0x7550, "simd_count": 128, "simd_per_cu": 2, "gfx_target_version": 120001, "vram": 16304},
        ),
        # A card's id in the table goes before its siblings' sizes: an MI300X with a little memory held back stays one.
        ("mi300x", {"vram": 190000}),
        # Without a known id the sizes tell: an MI325X under an id that is not in the table.
        ("mi325x", {"device_id": 1, "vram": 262128}),
    ],
)
def test_each_card_of_the_table_is_told_from_its_siblings(tmp_path, add_node, device, changed) -> None:
    add_node(1, **changed)
    assert detect(tmp_path).device == device


def test_memory_is_what_the_driver_reports_not_what_the_table_says(tmp_path, add_node) -> None:
    add_node(1, vram=190000)
    assert detect(tmp_path).memory_bytes == 190000 << 20


def test_host_memory_that_a_node_reaches_is_not_its_own(tmp_path, add_node) -> None:
    bank = add_node(1) / "mem_banks/1"
    bank.mkdir()
    (bank / "properties").write_text("heap_type 0\nsize_in_bytes 1099511627776\n")
    assert detect(tmp_path).memory_bytes == 206141652992


def test_partitioned_card_is_its_own_kind_with_its_own_size(tmp_path, add_node) -> None:
    for number in range(1, 9):  # CPX: one device per die
        add_node(number, simd_count=152, num_xcc=1, vram=24574)
    target = detect(tmp_path)
    assert (target.device, target.arch, target.count, target.compute_units) == ("gfx942", "gfx942", 8, 38)
    assert target.memory_bytes == 24574 << 20
    assert target.bf16_flops is None


def test_nodes_outside_the_container_are_not_counted(tmp_path, add_node) -> None:
    add_node(1)
    hidden = add_node(2) / "properties"
    hidden.chmod(0)
    if os.access(hidden, os.R_OK):  # root reads everything: an unreadable file is then one that is a folder
        hidden.unlink()
        hidden.mkdir()
    assert detect(tmp_path).count == 1


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"HIP_VISIBLE_DEVICES": "0,2"}, 2),
        ({"ROCR_VISIBLE_DEVICES": "1"}, 1),
        ({"HIP_VISIBLE_DEVICES": "0,1,-1,2"}, 2),
        ({"HIP_VISIBLE_DEVICES": "0,9,1"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "0, 1, 2"}, 3),
        ({"HIP_VISIBLE_DEVICES": "GPU-16f1c8a2c2cb0e34"}, 1),
        ({}, 4),
    ],
)
def test_visibility_variables_narrow_the_count(tmp_path, add_node, environ, count) -> None:
    for number in range(1, 5):
        add_node(number)
    assert detect(tmp_path, **environ).count == count


def test_no_visible_device_leaves_the_cpu(tmp_path, add_node) -> None:
    add_node(1)
    assert detect(tmp_path, HIP_VISIBLE_DEVICES="").vendor == "cpu"


def test_integrated_gpu_of_an_unknown_architecture_is_passed_over(tmp_path, add_node) -> None:
    add_node(1, gfx_target_version=100306, vram=512)
    assert detect(tmp_path).vendor == "cpu"


def test_unknown_architecture_is_refused_by_name(tmp_path, add_node) -> None:
    add_node(1, gfx_target_version=120500)
    with pytest.raises(TargetError, match="gfx1250") as caught:
        detect(tmp_path)
    assert "--target" in caught.value.hint


def test_small_card_beside_large_ones_does_not_stand_for_them(tmp_path, add_node) -> None:
    add_node(1, gfx_target_version=110000, simd_count=192, simd_per_cu=2, device_id=0x744C, vram=24560)
    add_node(2)
    add_node(3)
    target = detect(tmp_path)
    assert (target.device, target.count) == ("mi300x", 2)


def test_nodes_of_another_vendor_are_not_amd(tmp_path, add_node) -> None:
    add_node(1, vendor_id=4318)
    assert detect(tmp_path).vendor == "cpu"


def test_garbage_in_a_property_file_is_no_device(tmp_path, add_node) -> None:
    properties = add_node(1) / "properties"
    properties.write_text("gfx_target_version many\nvendor_id 4098\n\x00\n")
    assert detect(tmp_path).vendor == "cpu"


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (90402, "gfx942"),
        (90010, "gfx90a"),
        (90500, "gfx950"),
        (110000, "gfx1100"),
        (120001, "gfx1201"),
        (90012, "gfx90c"),
    ],
)
def test_version_number_to_compiler_name(version, name) -> None:
    assert gfx_name(version) == name
