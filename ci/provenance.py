"""Where a release's files come from, as an in-toto statement with SLSA's provenance predicate.

https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1. Unsigned: on GitHub, actions/attest-build-provenance
signs its own statement of the same files; elsewhere, whoever publishes signs this one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD_TYPE = "urn:glm-rocm:ci:release.sh"
BY_HAND = "urn:glm-rocm:ci:by-hand"
"""Of builds on a person's own machine."""


def sha256(file: Path) -> str:
    """The file's digest in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def git(*words: str) -> str:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def source() -> str:
    """The public address of the repository that was built, as SLSA writes a URI; empty where it has none."""
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if server and name:
        return f"git+{server}/{name}"
    done = subprocess.run(["git", "config", "remote.origin.url"], cwd=ROOT, capture_output=True, text=True, check=False)
    return f"git+{done.stdout.strip()}" if done.stdout.startswith("https://") else ""


def builder() -> str:
    """Who built: the workflow on GitHub, or a person's own machine."""
    reference = os.environ.get("GITHUB_WORKFLOW_REF")
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{reference}" if reference else BY_HAND


def statement(files: Iterable[Path], *, started: datetime) -> dict[str, Any]:
    """The statement for files that were built just now from this checkout."""
    commit = git("rev-parse", "HEAD")
    address = {"uri": source()} if source() else {}
    changed = git("status", "--porcelain", "--untracked-files=no") != ""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.name, "digest": {"sha256": sha256(file)}} for file in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {**address, "commit": commit, "changed": changed},
                "internalParameters": {},
                "resolvedDependencies": [
                    {"name": "glm-rocm", **address, "digest": {"gitCommit": commit}},
                    {"name": "ci/locks/release.txt", "digest": {"sha256": sha256(ROOT / "ci/locks/release.txt")}},
                ],
            },
            "runDetails": {
                "builder": {"id": builder()},
                "metadata": {
                    "invocationId": os.environ.get("GITHUB_RUN_ID", f"{started:%Y%m%dT%H%M%SZ}"),
                    "startedOn": f"{started:%Y-%m-%dT%H:%M:%SZ}",
                    "finishedOn": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                },
            },
        },
    }
