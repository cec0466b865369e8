"""What stands in the files of docker/ agrees: pins, stages, users, paths; nothing of it needs a container engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import glm_rocm
from glm_rocm.backends import ahead
from glm_rocm.engines import get_engine

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
ENGINES = ("vllm", "sglang")
VENDORS = ("cpu", "rocm", "cuda")


def read(name: str) -> str:
    return (DOCKER / name).read_text(encoding="utf-8")


def arguments(dockerfile: str) -> dict[str, str]:
    """The defaults of a Dockerfile's ARGs, by name; where one is said twice they must agree."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^ARG (\w+)=(\S*)$", dockerfile, re.MULTILINE):
        assert found.setdefault(name, value) == value, name
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_dockerfile_has_the_pins_for_defaults(engine: str, pins: dict[str, str]) -> None:
    found = arguments(read(f"Dockerfile.{engine}"))
    of_ours = {name: value for name, value in found.items() if name in pins}
    assert of_ours == {name: pins[name] for name in of_ours}
    assert {"CPU_IMAGE", "ROCM_ARCHS", "GLM_ROCM_VERSION"} <= of_ours.keys()
    assert {f"{engine.upper()}_{vendor}_IMAGE" for vendor in ("ROCM", "CUDA")} <= of_ours.keys()


def test_pins_are_those_of_the_package_and_its_locks(pins: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pins["GLM_ROCM_VERSION"] == glm_rocm.__version__
    assert pins["ROCM_ARCHS"] == ",".join(ahead.COMPILED_FOR)
    for engine, lock in (("vllm", "vllm-cpu"), ("sglang", "sglang-cpu")):
        version = pins[f"{engine.upper()}_VERSION"]
        locked = (ROOT / f"ci/locks/{lock}.txt").read_text(encoding="utf-8").splitlines()
        names = ("vllm-cpu",) if engine == "vllm" else ("sglang",)
        assert any(f"{name}=={version}" in locked for name in names)
        assert any(line.partition("+")[0] == f"torch=={pins['TORCH_VERSION']}" for line in locked)
        assert f"triton=={pins['TRITON_VERSION']}" in locked
        assert version.startswith(get_engine(engine).supported.removeprefix("==").removesuffix(".*"))
        for vendor in ("ROCM", "CUDA"):
            assert f":v{version}" in pins[f"{engine.upper()}_{vendor}_IMAGE"]
    assert f"python:{pins['PYTHON_VERSION']}-" in pins["CPU_IMAGE"]
    assert project["project"]["requires-python"].startswith(f">={pins['PYTHON_VERSION']}")


def test_page_names_each_image_as_it_is_pinned(pins: dict[str, str]) -> None:
    page = (ROOT / "docs/containers.md").read_text(encoding="utf-8")
    for name, value in pins.items():
        if name.endswith("_IMAGE"):
            assert f"`{value}`" in page, name


@pytest.mark.parametrize("engine", ENGINES)
def test_stages_share_one_end(engine: str) -> None:
    text = read(f"Dockerfile.{engine}")
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    assert set(VENDORS) <= set(stages)
    assert stages[-1] == "image"
    assert text.rstrip().endswith('ENTRYPOINT ["glm-rocm"]\nCMD ["serve"]')
    assert not re.search(r"TOKEN|API_KEY|PASSWORD", text)


@pytest.mark.parametrize("engine", ENGINES)
def test_server_is_killed_before_docker_stop_loses_its_patience(engine: str) -> None:
    limits = re.findall(r"GLM_ROCM_(?:DRAIN|GRACE)=(\d+)", read(f"Dockerfile.{engine}"))
    assert len(limits) == 2
    assert sum(map(int, limits)) <= 8


def test_both_dockerfiles_differ_in_the_engine_alone() -> None:
    """The end of both, from the image stage on, but for the engine's name."""
    ends = [read(f"Dockerfile.{engine}").partition("AS image\n")[2] for engine in ENGINES]
    ours, theirs = (
        end.replace("vllm", "E").replace("sglang", "E").replace("vLLM", "E").replace("SGLang", "E") for end in ends
    )
    assert ours == theirs


def compose() -> Any:
    return yaml.safe_load(read("compose.yaml"))


def test_every_service_is_locked_down() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("privileged"), name
        assert any(":/models" in volume for volume in service["volumes"]), name
        if "devices" in service:
            assert service["group_add"] == ["${KFD_GID:-44}", "${RENDER_GID:-44}"], name


def bake() -> dict[str, dict[str, str]]:
    """By target of the bake file: its Dockerfile and arguments. The file has one target in one block."""
    found = {}
    for name, body in re.findall(r'^target "([\w-]+)" \{\n(.*?)^\}', read("docker-bake.hcl"), re.MULTILINE | re.DOTALL):
        values = dict(re.findall(r'(\w+) += +"?([^\s",}]+)"?', body.replace("args       =", "")))
        listed = re.search(r"args += \{([^}]*)\}", body)
        found[name] = {
            "dockerfile": values.get("dockerfile", ""),
            **dict(re.findall(r'(\w+) *= *"?([\w,]+)"?', listed[1] if listed else "")),
        }
    return found


def test_bake_file_has_a_target_for_each_image_and_the_pins_for_defaults(pins: dict[str, str]) -> None:
    targets = bake()
    for engine in ENGINES:
        declared = arguments(read(f"Dockerfile.{engine}")) | {"VENDOR": "", "REVISION": ""}
        for vendor in VENDORS:
            target = targets[f"{engine}-{vendor}"]
            assert target.pop("dockerfile") == f"docker/Dockerfile.{engine}"
            assert target["VENDOR"] == vendor
            assert target.keys() <= declared.keys()
    defaults = dict(re.findall(r'variable "(\w+)" \{ default = "([^"]*)" \}', read("docker-bake.hcl")))
    assert {name: value for name, value in defaults.items() if name in pins} == {
        name: pins[name] for name in defaults if name in pins
    }
    assert {name for name in pins if name.endswith("_IMAGE")} <= defaults.keys()


@pytest.mark.parametrize("engine", ENGINES)
def test_manifests_fit_the_image(engine: str, pins: dict[str, str]) -> None:
    objects = {one["kind"]: one for one in yaml.safe_load_all(read(f"k8s/{engine}.yaml"))}
    deployment, service = objects["Deployment"]["spec"], objects["Service"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"].startswith(f"glm-rocm:{pins['GLM_ROCM_VERSION']}-{engine}-rocm")
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    patience = sum(int(one["value"]) for one in container["env"] if one["name"] in ("GLM_ROCM_DRAIN", "GLM_ROCM_GRACE"))
    assert patience < pod["terminationGracePeriodSeconds"]
    labels = deployment["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert deployment["selector"]["matchLabels"] == labels
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {"/models", "/tmp", "/dev/shm"} == {mount["mountPath"] for mount in container["volumeMounts"]}


def test_changed_package_of_the_vendor_is_found(tmp_path: Path) -> None:
    """The build's own check, on a package whose files are replaced by those of another build of the same version."""
    info = tmp_path / "triton-3.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: triton\nVersion: 3.9.0\n")
    (info / "RECORD").write_text("triton/a.py,sha256=one,1\n")

    def unchanged(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", str(DOCKER / "unchanged.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)})

    before = tmp_path / "before.json"
    before.write_text(unchanged("record").stdout)
    assert "3.9.0" in before.read_text()
    assert unchanged("check", str(before)).returncode == 0
    (info / "RECORD").write_text("triton/a.py,sha256=two,1\n")
    replaced = unchanged("check", str(before))
    assert replaced.returncode == 1
    assert "triton: 3.9.0" in replaced.stderr
    for path in (info / "METADATA", info / "RECORD"):
        path.unlink()
    info.rmdir()
    assert "became not there" in unchanged("check", str(before)).stderr
    assert unchanged().returncode == 2


def test_build_refuses_what_it_cannot_build() -> None:
    for words in ([], ["vllm"], ["vllm", "xpu"], ["tgi", "cpu"]):
        done = subprocess.run([DOCKER / "build.sh", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: found ")
        assert "\n\nhint: docker/build.sh" in done.stderr


def test_health_check_without_a_server_is_not_ready() -> None:
    environment = {"PATH": os.environ["PATH"], "GLM_ROCM_PORT": "1"}
    command = [sys.executable, str(DOCKER / "ready.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: not ready: ")
