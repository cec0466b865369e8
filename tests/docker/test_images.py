"""The CPU images run for real: locked down, as any user, ready when healthy, answering, and ended by one SIGTERM."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]

Docker = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
PORTS = {"vllm": 32010, "sglang": 32020}
LOCKED_DOWN = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
ANY_USER = "123456"
"""A user id without an entry in the image; docker gives it group 0."""


@pytest.fixture(scope="module", params=list(PORTS))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(engine: str, image: Callable[[str], str], start: Callable[..., Any]) -> Any:
    """One server of each engine, as a user id that the image does not know, healthy."""
    container = start(image(f"{engine}-cpu"), PORTS[engine], "--user", ANY_USER)
    container.wait_until_healthy()
    return container


def client(port: int) -> OpenAI:
    return OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=300)


def test_healthy_means_that_a_completion_succeeds_and_chat_answers(server: Any) -> None:
    with client(server.port) as asked:
        model = asked.models.list().data[0].id
        answer = asked.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "What is 12 + 30?"}], temperature=0, max_tokens=256
        )
    assert model == "pocket-glm"
    assert "42" in (answer.choices[0].message.content or "")


def test_runs_as_a_user_that_nobody_knows_on_a_root_that_nobody_writes(server: Any) -> None:
    assert server.execute("id", "-u") == ANY_USER
    assert server.execute("id", "-g") == "0"
    refused = server.run("exec", server.id, "touch", "/usr/written")
    assert "Read-only file system" in refused.stderr
    assert "CapEff:\t0000000000000000" in server.execute("cat", "/proc/1/status")


def test_health_check_is_not_ready_before_the_server_is(server: Any) -> None:
    other = server.run("exec", "-e", "GLM_ROCM_PORT=1", "-e", "TMPDIR=/dev/shm", server.id, "glm-rocm-ready")
    assert other.returncode == 1
    assert other.stderr.startswith("error: not ready: ")


def test_doctor_finds_nothing_missing(engine: str, image: Callable[[str], str], docker: Docker) -> None:
    done = docker("run", *LOCKED_DOWN, image(f"{engine}-cpu"), "doctor", "--json")
    assert done.returncode == 0, done.stdout
    hooks = [item for item in json.loads(done.stdout)["findings"] if item["area"] == f"hooks of {engine}"]
    assert hooks
    assert all(item["state"] == "good" for item in hooks)


def test_validate_proves_the_kernels_of_the_image(engine: str, image: Callable[[str], str], docker: Docker) -> None:
    words = ("-e", "OMP_NUM_THREADS=1", image(f"{engine}-cpu"), "validate", "--level", "ops", "--quick", "--json")
    done = docker("run", *LOCKED_DOWN, *words, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sigterm_ends_a_server_with_status_0_within_ten_seconds(server: Any) -> None:
    """The last test of a server: it is gone afterwards."""
    seconds = server.stop()
    assert server.state("ExitCode") == "0", server.log()
    assert seconds < 10


def test_sigterm_while_it_starts_is_heeded(engine: str, image: Callable[[str], str], start: Any) -> None:
    container = start(image(f"{engine}-cpu"), PORTS[engine] + 1)
    while "log in" not in container.log():
        assert container.state("Status") == "running", container.log()
        time.sleep(1)
    assert container.stop() < 10
    assert container.state("ExitCode") == "0", container.log()


@pytest.mark.parametrize("vendor", ["rocm", "cuda"])
def test_our_layers_go_onto_a_vendors_image(
    engine: str, vendor: str, image: Callable[[str], str], docker: Docker
) -> None:
    """On a stand-in: that the vendor's own base takes them is not known here."""
    name = image(f"{engine}-{vendor}-stand-in")
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", name).stdout)
    assert labels["org.glm-rocm.vendor"] == vendor
    if vendor == "rocm":
        checked = docker("run", *LOCKED_DOWN, name, "compile", "--check", "/var/cache/glm-rocm/triton")
        assert checked.returncode == 0, checked.stderr
        again = docker(
            "run", *LOCKED_DOWN, name, "compile", "--op", "quant", "--out", "/var/cache/glm-rocm/triton", "--json"
        )
        found = json.loads(again.stdout)
        assert (found["compiled"], found["found"] > 0) == (0, True)


def tool(name: str) -> str:
    """A linter of the images; `docker/lint.sh` installs it."""
    found = ROOT / ".venvs/images/bin" / name
    assert found.exists(), "hint: docker/lint.sh"
    return str(found)


def test_structure_is_the_declared_one(engine: str, image: Callable[[str], str]) -> None:
    words = ["test", "--image", image(f"{engine}-cpu"), "--config", str(ROOT / "docker/structure.yaml")]
    done = subprocess.run([tool("container-structure-test"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bill_of_materials_names_wheels_and_libraries(engine: str, image: Callable[[str], str], tmp_path: Path) -> None:
    tool("syft")
    written = tmp_path / "sbom.json"
    done = subprocess.run(
        [ROOT / "docker/sbom.sh", image(f"{engine}-cpu"), written], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = {part["name"] for part in json.loads(written.read_text(encoding="utf-8"))["components"]}
    assert {"glm-rocm", "torch", "triton", "libnuma1"} <= names


def test_no_layer_holds_a_cache_or_a_secret(engine: str, image: Callable[[str], str], docker: Docker) -> None:
    name = image(f"{engine}-cpu")
    places = "/tmp /root/.cache /run/secrets /mnt/wheels /dist /src"
    done = docker("run", "--rm", "--user", "0", "--entrypoint", "find", name, *places.split(), "-type", "f")
    assert done.stdout == ""
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", name).stdout
    assert "HF_TOKEN" not in history
    assert "API_KEY" not in history
