"""Build a release and hold it to what it must be: contents, installation, extras, provenance, changelog.

    ci/release.sh [--dry-run] [--without extras]

Everything lands in dist/: the wheel, the sdist, `provenance.intoto.json`, and the CHANGELOG as it will be. The wheel is
installed into a clean environment and its command is run there; an extra is resolved (`pip install --dry-run`), since
those that bring an engine are gigabytes. Exit code 1 where a check fails, 2 where the checkout is not fit to release.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import provenance

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PACKAGES = {"glm_rocm", "glm_rocm_kernels", "cdna_emulator", "exact_interpreter"}
"""The import names that the wheel may bring; `kernels` is another project's."""
NEEDED = ("glm_rocm/py.typed", "glm_rocm_kernels/configs/gfx942.json", "glm_rocm/cli/__init__.py")
"""Beside code: what a packaging rule loses first."""
SECRET = re.compile(r"(^|/)(\.env|\.git|\.venvs|id_rsa|.*\.pem|__pycache__)(/|$)")


class UnfitError(Exception):
    """The checkout, or what was built of it, is not what a release must be: the sentence, and the cure."""

    def __init__(self, sentence: str, hint: str) -> None:
        super().__init__(sentence)
        self.hint = hint


def run(*command: str | Path, **environment: str) -> str:
    """A command's output.

    Raises:
        UnfitError: it failed.
    """
    words = list(map(str, command))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | environment)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise UnfitError(f"`{' '.join(words[:6])} ...` failed: {last}", " ".join(words))
    return done.stdout


def version() -> str:
    """The version, which the package and the images' pins state alike."""
    found = re.search(r'^__version__ = "([^"]+)"', (ROOT / "glm_rocm" / "__init__.py").read_text(), re.MULTILINE)
    if not found:
        raise UnfitError("glm_rocm/__init__.py states no `__version__`", "add one")
    pinned = re.search(r"^GLM_ROCM_VERSION=(.*)$", (ROOT / "docker" / "versions.env").read_text(), re.MULTILINE)
    if not pinned or pinned[1] != found[1]:
        told = pinned[1] if pinned else "none"
        raise UnfitError(f"version {found[1]}, but docker/versions.env has {told}", "state one version in both files")
    return found[1]


def cut(changelog: str, release: str, date: str) -> str:
    """The changelog with what is unreleased under the release's own heading, and an empty Unreleased above it.

    A changelog that has the heading already comes back as it is.

    Raises:
        UnfitError: nothing is unreleased.
    """
    if re.search(rf"^## \[{re.escape(release)}\]", changelog, re.MULTILINE):
        return changelog
    head, mark, rest = changelog.partition("## [Unreleased]\n")
    body = re.split(r"^## \[", rest, maxsplit=1, flags=re.MULTILINE)[0]
    if not mark or not re.search(r"^- ", body, re.MULTILINE):
        raise UnfitError("CHANGELOG.md has nothing under `## [Unreleased]`", "a line for each change that users see")
    return f"{head}{mark}\n## [{release}] - {date}\n{rest}"


def build(folder: Path) -> list[Path]:
    """The wheel and the sdist. Timestamps are the commit's, so that the same commit gives the same bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    epoch = run("git", "-c", f"safe.directory={ROOT}", "log", "-1", "--format=%ct").strip()
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, SOURCE_DATE_EPOCH=epoch)
    return sorted(folder.glob("glm_rocm-*"))


def check_names(names: Iterable[str], release: str) -> None:
    """What the wheel holds.

    Raises:
        UnfitError: a name that it must not bring, or one that it lacks.
    """
    files = list(names)
    tops = {name.partition("/")[0] for name in files} - {f"glm_rocm-{release}.dist-info"}
    if tops != PACKAGES:
        strange = ", ".join(sorted(tops - PACKAGES)) or "none"
        missing = ", ".join(sorted(PACKAGES - tops)) or "none"
        raise UnfitError(f"the wheel's packages: too many {strange}, missing {missing}", "see [tool.hatch.build]")
    lacking = [name for name in NEEDED if name not in files]
    if lacking or not any(name.endswith(".safetensors") for name in files):
        raise UnfitError(f"the wheel lacks {', '.join(lacking) or 'the pocket checkpoint'}", "see [tool.hatch.build]")
    if wrong := [name for name in files if SECRET.search(name)]:
        raise UnfitError(f"the wheel holds `{wrong[0]}`", "see [tool.hatch.build]")


def check_sdist(names: Iterable[str]) -> None:
    """What the sdist holds: what builds the wheel again, and nothing of an environment.

    Raises:
        UnfitError: as the sentence says.
    """
    files = [name.partition("/")[2] for name in names]
    for needed in ("pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "glm_rocm/__init__.py"):
        if needed not in files:
            raise UnfitError(f"the sdist lacks `{needed}`", "see [tool.hatch.build.targets.sdist]")
    if wrong := [name for name in files if SECRET.search(name)]:
        raise UnfitError(f"the sdist holds `{wrong[0]}`", "see [tool.hatch.build.targets.sdist]")


def check_installed(wheel: Path) -> None:
    """The wheel in a clean environment: its command answers, plans for a card, and looks at the machine."""
    with tempfile.TemporaryDirectory(prefix="glm-rocm-release-") as folder:
        venv.create(folder, with_pip=True)
        bin_ = Path(folder) / "bin"
        run(bin_ / "python", "-m", "pip", "--disable-pip-version-check", "-qq", "install", wheel)
        run(bin_ / "python", "-m", "pip", "check")
        command = bin_ / "glm-rocm"
        shown = json.loads(
            run(command, "plan", "zai-org/GLM-4.6-FP8", "--gpus", "mi300x:8", "--json", HF_HUB_OFFLINE="1")
        )
        if shown["target"]["arch"] != "gfx942":
            raise UnfitError(
                f"installed, `plan --gpus mi300x:8` planned for {shown['target']['arch']}", "see glm_rocm/plan"
            )
        doctor = subprocess.run([command, "doctor", "--json"], capture_output=True, text=True, check=False)
        if not json.loads(doctor.stdout or "null"):  # 1: it found something missing, here an engine
            raise UnfitError("installed, `glm-rocm doctor --json` said nothing", f"{command} doctor")


def check_extras(wheel: Path) -> list[str]:
    """Each extra resolved for this interpreter; gives their names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    index = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
    for extra in project["optional-dependencies"]:
        say(f"resolving the extra `{extra}`")
        words = ("--dry-run", "--ignore-installed", "--extra-index-url", index, f"glm-rocm[{extra}] @ {wheel.as_uri()}")
        run(sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install", *words)
    return list(project["optional-dependencies"])


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f}s] {text}", file=sys.stderr)


STARTED = time.monotonic()


def release(*, dry: bool, without: list[str]) -> None:
    """Everything, in order; stops at the first thing that is not right."""
    started = datetime.now(UTC)
    number = version()
    if not dry and run("git", "status", "--porcelain").strip():
        raise UnfitError("the checkout has changes that no commit holds", "git status")
    text = cut((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), number, f"{started:%Y-%m-%d}")
    say(f"building glm-rocm {number}")
    wheel, sdist = sorted(build(DIST), key=lambda file: file.suffix != ".whl")
    check_names(zipfile.ZipFile(wheel).namelist(), number)
    with tarfile.open(sdist) as archive:
        check_sdist(archive.getnames())
    say("installing the wheel into a clean environment")
    check_installed(wheel)
    extras = [] if "extras" in without else check_extras(wheel)
    statement = provenance.statement([wheel, sdist], started=started)
    (DIST / "provenance.intoto.json").write_text(json.dumps(statement, indent=1) + "\n", encoding="utf-8")
    (DIST / "CHANGELOG.md").write_text(text, encoding="utf-8")
    if not dry:
        (ROOT / "CHANGELOG.md").write_text(text, encoding="utf-8")
    say(f"good: {wheel.name}, {sdist.name}; installed and run; extras resolved: {', '.join(extras) or 'none'}")
    say("nothing was changed" if dry else f"commit CHANGELOG.md, then: git tag v{number}")


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--dry-run", action="store_true", help="change nothing in the checkout but dist/")
    ask.add_argument("--without", action="append", choices=["extras"], default=[], help="leave this check out")
    asked = ask.parse_args()
    try:
        release(dry=asked.dry_run, without=asked.without)
    except UnfitError as error:
        print(f"error: {error}\n\nhint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
