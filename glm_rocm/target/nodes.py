"""What a process may open of the machine's accelerators: device nodes, their groups by number, driver and ROCm.

In a container the driver's description of the cards may be seen while their device nodes are not there, and groups have
numbers without names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from glm_rocm.target.detect import Target

FIRST_ROCM = {"gfx950": (7, 0)}
"""The ROCm that an architecture needs at least (vLLM's installation page: MI350 requires ROCm 7.0 or above)."""

AMD_FLAGS = (
    "--device /dev/kfd --device /dev/dri --group-add $(stat -c %g /dev/kfd) "
    "--group-add $(stat -c %g /dev/dri/renderD128) --ipc host"
)
"""`docker run` with an AMD card. The groups by the host's numbers: an image has other names for them, or none."""
NVIDIA_FLAGS = "--gpus all --ipc host"


@dataclass(frozen=True)
class Stack:
    """Driver and user space of an AMD card; "" where this machine does not say.

    Attributes:
        driver: version of the kernel module, or `of Linux 6.8.0` where it is the kernel's own.
        rocm: version of the ROCm that is installed here, `7.2.1`.
    """

    driver: str
    rocm: str

    def fits(self, arch: str) -> bool:
        """Whether this ROCm knows the architecture; true where the version is not known."""
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.rocm)[:2])
        return not numbers or numbers >= FIRST_ROCM.get(arch, (0, 0))


def in_container(root: Path = Path("/")) -> bool:
    """Whether this is a container: Docker's or Podman's mark, or Kubernetes' secrets."""
    return any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"))


def device_nodes(target: Target, root: Path = Path("/")) -> list[Path]:
    """The nodes that the target's vendor needs, those always needed whether they are there or not."""
    return {
        "cpu": [],
        "rocm": [root / "dev/kfd", *sorted((root / "dev/dri").glob("renderD*"))],
        "cuda": [root / "dev/nvidiactl", *sorted((root / "dev").glob("nvidia[0-9]*"))],
    }[target.vendor]


def hidden_card(root: Path = Path("/")) -> bool:
    """Whether the amdgpu driver has a card that this container was not given: it runs, and there is no `/dev/kfd`."""
    return (root / "sys/class/kfd/kfd/topology").exists() and not (root / "dev/kfd").exists()


def group_of(node: Path) -> tuple[int, str]:
    """The number of a node's group, and its name; "" where this system has none for it."""
    number = node.stat().st_gid
    try:
        return number, node.group()
    except KeyError:
        return number, ""


def amd_stack(root: Path = Path("/")) -> Stack:
    """Versions of driver and ROCm, as the kernel and `/opt/rocm` say them."""
    driver = _text(root / "sys/module/amdgpu/version")
    kernel = _text(root / "proc/sys/kernel/osrelease")
    if not driver and kernel and (root / "sys/module/amdgpu").exists():
        driver = f"of Linux {kernel}"
    return Stack(driver, _text(root / "opt/rocm/.info/version"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
