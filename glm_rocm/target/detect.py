"""Which hardware is this: a `Target`, stated in words or read from the running kernel's own files.

Detection opens no device and creates no context: it reads `/sys/class/kfd`, `/proc/driver/nvidia` and `/proc/meminfo`,
and asks `nvidia-smi` only about a card that the table does not hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from glm_rocm.errors import TargetError
from glm_rocm.target.cards import ARCHS, CARDS, CARDS_BY_KEY, MIB, Arch, Card, Vendor

AMD_PCI_VENDOR = 4098
MOST_DEVICES = 1024
SMALLEST_DEVICE_BYTES = 6 << 30
"""A GPU with less memory of its own (an integrated one) is passed over: no GLM and no engine's runtime fits there."""


@dataclass(frozen=True)
class Target:
    """The accelerator that a plan is made for.

    Attributes:
        vendor: `rocm`, `cuda` or `cpu`.
        arch: `gfx942`, `sm90`, `cpu`.
        device: the card's word (`mi300x`), or the architecture's where the card is not in the table.
        name: the card in words.
        count: devices (a MI250X card holds two).
        memory_bytes: memory of one device, as its driver reports it; on a CPU the memory of the host or its cgroup.
        fp8_dtype: the FP8 format that the hardware multiplies; None where it multiplies none. A CPU multiplies in fp32
            after conversion, which is exact for either format.
        lds_bytes: shared memory (LDS) of one workgroup.
        wave: threads in lockstep.
        compute_units: CUs or SMs of one device; on a CPU its logical processors.
        hbm_bytes_per_s, bf16_flops, fp8_flops: dense peaks; None where no number is published.
        stated: True when a person named it, False when it was detected.
    """

    vendor: Vendor
    arch: str
    device: str
    name: str
    count: int
    memory_bytes: int
    fp8_dtype: str | None
    lds_bytes: int
    wave: int
    compute_units: int
    hbm_bytes_per_s: float | None
    bf16_flops: float | None
    fp8_flops: float | None
    stated: bool

    def describe(self) -> str:
        """`8 x AMD Instinct MI300X (gfx942, 206.1 GB each)`."""
        if self.vendor == "cpu":
            return f"CPU ({self.compute_units} threads, {self.memory_bytes / 1e9:.1f} GB)"
        return f"{self.count} x {self.name} ({self.arch}, {self.memory_bytes / 1e9:.1f} GB each)"


def known_devices() -> tuple[str, ...]:
    """Every word that `--target` takes, cards before architectures."""
    return (*CARDS_BY_KEY, *(name for name in ARCHS))


def parse_target(text: str, *, root: Path = Path("/")) -> Target:
    """The target that `--target` or `--gpus` states: `mi300x:8`, `h100:4`, `gfx942` (its first card, once), `cpu`.

    Args:
        text: `KIND` or `KIND:COUNT`, in any case.
        root: where `proc` and `sys` lie; read for `cpu` alone, whose memory is this machine's.

    Raises:
        TargetError: an unknown kind, or a count that is not a whole number from 1 to 1024 (1 for `cpu`).
    """
    kind, colon, amount = text.strip().lower().partition(":")
    if kind not in known_devices():
        raise TargetError(
            f"unknown accelerator `{kind}` in `{text}`",
            required="one of " + ", ".join(f"`{word}`" for word in known_devices()),
            hint="state kind and number, for example `--target mi300x:8`",
        )
    # isascii: str.isdigit also holds for digits that int() refuses.
    count = int(amount) if amount.isascii() and amount.isdigit() and len(amount) < 6 else 0
    if colon and not 1 <= count <= MOST_DEVICES:
        raise TargetError(
            f"`{amount}` devices in `{text}`",
            required=f"a whole number from 1 to {MOST_DEVICES}",
            hint=f"state kind and number, for example `--target {kind}:1`",
        )
    if kind == "cpu":
        if count > 1:
            raise TargetError(f"`{text}`", required="one CPU target, which is the whole machine", hint="`--target cpu`")
        return replace(_cpu(root), stated=True)
    card = CARDS_BY_KEY.get(kind) or next(card for card in CARDS if card.arch == kind)
    return _target(ARCHS[card.arch], card, count=count or 1, stated=True)


def detect_target(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> Target:
    """The accelerator of this machine: ROCm if the amdgpu driver shows a device, else NVIDIA, else the CPU.

    Devices of one kind are counted together; of several kinds present, the one with the most memory in all wins.
    `HIP_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES` and `CUDA_VISIBLE_DEVICES` narrow the count as the runtimes do.
    Whether the device may be opened is not asked here: `glm-rocm doctor` tells a card whose device node is missing.

    Args:
        root: where `sys` and `proc` lie; tests point it at recorded trees.
        environ: the environment whose visibility variables count.

    Raises:
        TargetError: a device whose architecture is not in the table; it is named.
    """
    rocm_variables = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
    for found, variables in (
        (_kfd_devices(root / "sys/class/kfd/kfd/topology/nodes"), rocm_variables),
        (_nvidia_devices(root / "proc/driver/nvidia/gpus", environ), ("CUDA_VISIBLE_DEVICES",)),
    ):
        visible = found[: _visible(environ, variables, len(found))]
        if visible:
            kinds = Counter(visible)
            largest = max(kinds, key=lambda device: device.memory_bytes * kinds[device])
            return replace(largest, count=kinds[largest])
    return _cpu(root)


def _target(arch: Arch, card: Card | None, *, count: int, stated: bool, memory: int = 0, units: int = 0) -> Target:
    """A target from the tables; `memory` and `units`, where read from a driver, go before the table's numbers."""
    return Target(
        vendor=arch.vendor,
        arch=arch.name,
        device=card.key if card else arch.name,
        name=card.name if card else "CPU" if arch.vendor == "cpu" else f"{arch.name} card outside the table",
        count=count,
        memory_bytes=memory or (card.memory_bytes if card else 0),
        fp8_dtype=arch.fp8_dtype,
        lds_bytes=arch.lds_bytes,
        wave=arch.wave,
        compute_units=units or (card.compute_units if card else 0),
        hbm_bytes_per_s=card.hbm_bytes_per_s if card else None,
        bf16_flops=card.bf16_flops if card else None,
        fp8_flops=card.fp8_flops if card else None,
        stated=stated,
    )


def _kfd_devices(nodes: Path) -> list[Target]:
    """One target per AMD GPU node of the kernel driver's topology, in node order."""
    found = []
    # A container sees every node's folder, but reading those outside its cgroup is refused: such nodes are not ours.
    for node in sorted(nodes.glob("*"), key=lambda path: int(path.name) if path.name.isdigit() else -1):
        properties = _properties(node / "properties")
        version = properties.get("gfx_target_version", 0)
        if version == 0 or properties.get("vendor_id") != AMD_PCI_VENDOR:
            continue
        memory = _kfd_memory(node, properties)
        if memory < SMALLEST_DEVICE_BYTES:
            continue
        found.append(_kfd_target(gfx_name(version), memory, properties))
    return found


def _kfd_target(name: str, memory: int, properties: Mapping[str, int]) -> Target:
    arch = ARCHS.get(name)
    if arch is None:
        raise _unknown_arch(name, "/sys/class/kfd")
    units = properties.get("simd_count", 0) // (properties.get("simd_per_cu") or 4)
    pci_id = properties.get("device_id", 0)
    siblings = [card for card in CARDS if card.arch == name and card.compute_units == units]
    # By PCI id where the card has one; a card without ids in the table is told by its compute units and memory alone.
    # A partitioned card (CPX) has other compute units per node and so is an unlisted card with its own numbers.
    card = next((card for card in siblings if pci_id in card.pci_ids), None) or next(
        (card for card in siblings if abs(card.memory_bytes - memory) < 0.05 * memory), None
    )
    return _target(arch, card, count=1, stated=False, memory=memory, units=units)


def gfx_name(version: int) -> str:
    """The compiler's name of a `gfx_target_version`: 90402 -> `gfx942`, 90010 -> `gfx90a` (decimal pairs, in hex)."""
    major, minor, step = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{step:x}"


def _kfd_memory(node: Path, properties: Mapping[str, int]) -> int:
    """Device memory in bytes: the node's memory banks of type 1 or 2 (public or private frame buffer)."""
    banks = [_properties(bank) for bank in node.glob("mem_banks/*/properties")]
    size = sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in (1, 2))
    return size or properties.get("local_mem_size", 0)


def _properties(path: Path) -> dict[str, int]:
    """`name value` lines as integers; {} where the file is absent or may not be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isascii() and pair[1].isdigit()}


def _nvidia_devices(gpus: Path, environ: Mapping[str, str]) -> list[Target]:
    """One target per GPU that the NVIDIA driver lists, in bus order."""
    texts = [path.read_text() for path in sorted(gpus.glob("*/information"))]
    names = [match.group(1).strip() for text in texts if (match := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))]
    cards = [_nvidia_card(name) for name in names]
    if texts and len(names) == len(texts) and all(cards):
        return [_target(ARCHS[card.arch], card, count=1, stated=False) for card in cards if card]
    asked = _nvidia_smi(environ)  # also where there is no /proc/driver/nvidia at all, as under WSL
    if not asked and texts:
        raise _unknown_arch(", ".join(names) or "a card without a name", "/proc/driver/nvidia")
    return asked


def _nvidia_card(name: str) -> Card | None:
    return next((card for card in CARDS if card.driver_name and re.search(card.driver_name, name)), None)


def _nvidia_smi(environ: Mapping[str, str]) -> list[Target]:
    """What `nvidia-smi` says of the cards: name, total MiB, compute capability. It creates no CUDA context."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", ""))
    if program is None:
        return []
    query = [program, "--query-gpu=memory.total,compute_cap,name", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    found = []
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        memory, capability, name = (part.strip() for part in line.split(",", 2))
        arch = ARCHS.get("sm" + capability.replace(".", ""))
        if arch is None:
            raise _unknown_arch(f"{name}, compute capability {capability}", "nvidia-smi")
        found.append(_target(arch, _nvidia_card(name), count=1, stated=False, memory=int(memory) * MIB))
    return found


def _unknown_arch(name: str, where: str) -> TargetError:
    return TargetError(
        f"the driver reports `{name}` (in `{where}`), which the table does not hold",
        required="one of " + ", ".join(f"`{word}`" for word in known_devices()),
        hint="state the nearest one, for example `--target mi300x:8`, or `--target cpu`",
    )


def _visible(environ: Mapping[str, str], variables: tuple[str, ...], count: int) -> int:
    """How many of `count` devices the first set variable leaves visible; the list ends at -1 or an unknown index."""
    value = next((environ[name] for name in variables if name in environ), None)
    if value is None:
        return count
    seen = 0
    for item in (part.strip() for part in value.split(",")):
        if item in ("", "-1") or (item.isascii() and item.isdigit() and int(item) >= count):
            break
        seen += 1
    return min(seen, count)


def _cpu(root: Path) -> Target:
    """This machine's CPU; its memory is the host's or, where smaller, the limit of the control group."""
    meminfo = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    memory = int(meminfo.group(1)) * 1024 if meminfo else 0
    for limit in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _text(root / limit).strip()
        if text.isdigit():
            memory = min(memory, int(text)) or int(text)
    return _target(ARCHS["cpu"], None, count=1, stated=False, memory=memory or 1024 * MIB, units=os.cpu_count() or 1)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
