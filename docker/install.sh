#!/usr/bin/env bash
# What the images' build steps run; nothing of it stays in a layer.
#   install.sh package SOURCE DIST   build glm-rocm's wheel
#   install.sh locked LOCK VENV      an environment with exactly the packages of a lock file, on the CPU build of torch
#   install.sh into DIST             glm-rocm's wheel into the environment that `python3` is; replaces nothing there
# Wheels in /mnt/wheels are taken first, and where there are some, nothing else. Secrets `ca_bundle` and `pip_conf`
# reach pip and are not kept.
set -euo pipefail

readonly WHEELS=/mnt/wheels
readonly TORCH_INDEX=https://download.pytorch.org/whl/cpu
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
# The vendors' images install into the distribution's own Python.
export PIP_BREAK_SYSTEM_PACKAGES=1
if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi
if [ -s /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi
index=()
if compgen -G "$WHEELS/*.whl" >/dev/null; then index=(--no-index --find-links "$WHEELS"); fi

package() {
    python3 -m venv /tmp/build
    # Copied: the source may be mounted read-only, and a build writes beside it.
    /tmp/build/bin/pip wheel --quiet "${index[@]}" --no-deps --wheel-dir "$2" "$1"
    rm -rf /tmp/build
}

locked() {
    python3 -m venv "$2"
    local pip=("$2/bin/pip" install --quiet --no-deps --no-compile "${index[@]}")
    if [ "${#index[@]}" = 0 ]; then
        "${pip[@]}" --index-url "$TORCH_INDEX" "$(grep -E '^torch==' "$1")"
    fi
    "${pip[@]}" -r "$1"
}

into() {
    local before
    before=$(mktemp)
    python3 /unchanged.py record >"$before"
    python3 -m pip freeze --quiet 2>/dev/null | grep -E '^[A-Za-z0-9._-]+==' >/tmp/constraints.txt || true
    python3 -m pip install --quiet --no-compile --constraint /tmp/constraints.txt "$1"/*.whl
    python3 /unchanged.py check "$before"
    rm -f "$before" /tmp/constraints.txt
}

"$@"
