"""The accelerators as data: what an architecture can do, and what a card of it has.

Peaks are the vendors' dense ones from their data sheets. `memory_bytes` is what the driver reports as total, which an
engine can divide up, not the rounded gigabytes of the sheet. None: no such number is published, or the card has no such
maths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Vendor = Literal["rocm", "cuda", "cpu"]
MIB = 1 << 20


@dataclass(frozen=True)
class Arch:
    """What every card of an architecture shares.

    Attributes:
        name: `gfx942`, `sm90`, `cpu`: the compiler's word.
        fp8_dtype: the FP8 format its matrix units multiply; None where they multiply none.
        lds_bytes: shared memory (LDS) that one workgroup can hold; 0 on a CPU.
        wave: threads that run in lockstep; 1 on a CPU.
    """

    name: str
    vendor: Vendor
    fp8_dtype: str | None
    lds_bytes: int
    wave: int


@dataclass(frozen=True)
class Card:
    """One card; where a card holds several devices (MI250X: two), the numbers are those of one device.

    Attributes:
        key: the word of `--target`.
        pci_ids: PCI device ids, the virtual functions' included, where they tell this card from its siblings.
        driver_name: a regular expression on the name that the NVIDIA driver reports; "" on other vendors.
    """

    key: str
    name: str
    arch: str
    memory_bytes: int
    compute_units: int
    hbm_bytes_per_s: float | None
    bf16_flops: float | None
    fp8_flops: float | None
    pci_ids: tuple[int, ...] = ()
    driver_name: str = ""


ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        Arch("gfx90a", "rocm", None, 64 * 1024, 64),
        Arch("gfx942", "rocm", "float8_e4m3fnuz", 64 * 1024, 64),
        Arch("gfx950", "rocm", "float8_e4m3fn", 160 * 1024, 64),
        Arch("gfx1100", "rocm", None, 64 * 1024, 32),
        Arch("gfx1201", "rocm", "float8_e4m3fn", 64 * 1024, 32),
        Arch("sm80", "cuda", None, 163 * 1024, 32),
        Arch("sm90", "cuda", "float8_e4m3fn", 227 * 1024, 32),
        Arch("sm100", "cuda", "float8_e4m3fn", 227 * 1024, 32),
        Arch("cpu", "cpu", "float8_e4m3fn", 0, 1),
    )
}

# The first card of an architecture stands for it where only the architecture is stated (`--target gfx942`).
CARDS: tuple[Card, ...] = (
    Card("mi300x", "AMD Instinct MI300X", "gfx942", 196592 * MIB, 304, 5.3e12, 1307e12, 2615e12, (0x74A1, 0x74B5)),
    Card("mi325x", "AMD Instinct MI325X", "gfx942", 262128 * MIB, 304, 6.0e12, 1307e12, 2615e12, (0x74A5, 0x74B9)),
    Card("mi308x", "AMD Instinct MI308X", "gfx942", 196592 * MIB, 80, 5.3e12, None, None, (0x74A2, 0x74B6)),
    Card("mi350x", "AMD Instinct MI350X", "gfx950", 294896 * MIB, 256, 8.0e12, 2300e12, 4600e12, (0x75A0, 0x75B0)),
    Card("mi355x", "AMD Instinct MI355X", "gfx950", 294896 * MIB, 256, 8.0e12, 2500e12, 5000e12, (0x75A3, 0x75B3)),
    Card("mi250x", "AMD Instinct MI250X (one of two dies)", "gfx90a", 65520 * MIB, 110, 1.6e12, 191.5e12, None),
    Card("rx7900", "AMD Radeon RX 7900 XTX", "gfx1100", 24560 * MIB, 96, 0.96e12, 122.8e12, None),
    Card("rx9070", "AMD Radeon RX 9070 XT", "gfx1201", 16304 * MIB, 64, 0.64e12, 195e12, 389e12),
    Card("a100", "NVIDIA A100 80 GB SXM", "sm80", 81920 * MIB, 108, 2.04e12, 312e12, None, (), r"A100-SXM\S*-80GB"),
    Card("h100", "NVIDIA H100 80 GB SXM", "sm90", 81559 * MIB, 132, 3.35e12, 989e12, 1979e12, (), r"H100 80GB HBM3"),
    Card("h200", "NVIDIA H200 SXM", "sm90", 143771 * MIB, 132, 4.8e12, 989e12, 1979e12, (), r"H200(?! NVL)"),
    Card("b200", "NVIDIA B200", "sm100", 183359 * MIB, 148, 8.0e12, 2250e12, 4500e12, (), r"B200"),
)

CARDS_BY_KEY: dict[str, Card] = {card.key: card for card in CARDS}
