"""The images that were built here, and containers of them; and the pins of `docker/versions.env`."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Docker = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).resolve().parents[2]
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
PATIENCE_S = 1500.0
"""From start to healthy. Under a minute on two free cores; a machine that builds something else takes its time."""


@pytest.fixture(scope="session")
def pins() -> dict[str, str]:
    """The pins by name."""
    lines = (ROOT / "docker/versions.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="session")
def docker() -> Docker:
    """`docker(*words)`: run the client. Skips, with what docker says, where no daemon answers; fails if one must."""
    # Debian's own client goes before another one, which may lack BuildKit.
    program = os.environ.get("DOCKER") or shutil.which("docker", path="/usr/bin") or shutil.which("docker")
    required = bool(os.environ.get("GLM_ROCM_IMAGES_REQUIRED"))
    if program is None:
        missing("no `docker` on this machine", required)

    def run(*words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(program), *words], capture_output=True, text=True, check=False, timeout=timeout)

    asked = run("version", "--format", "{{.Server.Version}}")
    if asked.returncode != 0:
        missing(" ".join((asked.stderr or asked.stdout).split()), required)
    return run


@pytest.fixture(scope="session")
def image(docker: Docker) -> Callable[[str], str]:
    """`image(tag)`: the image's name; skips where it was not built."""

    def find(tag: str) -> str:
        name = f"glm-rocm:{tag}"
        if docker("image", "inspect", name).returncode != 0:
            missing(f"no image `{name}` here: `make image-test` builds it", required=False)
        return name

    return find


def missing(reason: str, required: bool) -> None:
    if required:
        pytest.fail(f"the images are to be tested, and {reason}")
    pytest.skip(f"images not run: {reason}")


class Container:
    """One running server."""

    def __init__(self, run: Docker, image: str, port: int, *flags: str) -> None:
        self.run, self.port = run, port
        settings = ("-e", f"GLM_ROCM_PORT={port}", "-e", "OMP_NUM_THREADS=1", "--network", "host")
        started = run("run", "--detach", *LOCKED_DOWN, *settings, *flags, image)
        assert started.returncode == 0, started.stderr
        self.id = started.stdout.strip()

    def state(self, field: str) -> str:
        return self.run("inspect", "--format", f"{{{{.State.{field}}}}}", self.id).stdout.strip()

    def log(self) -> str:
        done = self.run("logs", self.id)
        return done.stdout + done.stderr

    def wait_until_healthy(self) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        while (health := self.state("Health.Status")) != "healthy":
            assert self.state("Status") == "running", self.log()
            assert time.monotonic() - began < PATIENCE_S, f"{health}\n{self.log()}"
            time.sleep(1)
        return time.monotonic() - began

    def execute(self, *words: str) -> str:
        done = self.run("exec", self.id, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self) -> float:
        """SIGTERM, and SIGKILL ten seconds later, as `docker stop` does; the seconds that it took."""
        began = time.monotonic()
        self.run("stop", "--time", "10", self.id)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def start(docker: Docker) -> Iterator[Callable[..., Container]]:
    """`start(image, port, *flags)`: a locked-down server, removed at the end."""
    started: list[Container] = []

    def run(image: str, port: int, *flags: str) -> Container:
        started.append(Container(docker, image, port, *flags))
        return started[-1]

    yield run
    for container in started:
        docker("rm", "--force", "--volumes", container.id)
