#!/usr/bin/env bash
# Make the environment of some pinned tools, .venvs/NAME from ci/locks/NAME.txt, where it is not there or older than the
# lock, and print where its programs are: bin=$(ci/tools.sh NAME). Needs no network afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.venvs/$1
lock=ci/locks/$1.txt
if [ ! "$folder/.done" -nt "$lock" ]; then
    "${PYTHON:-python3.11}" -m venv "$folder"
    "$folder/bin/python" -m pip --disable-pip-version-check -qq install --no-deps -r "$lock" >&2
    touch "$folder/.done"
fi
echo "$folder/bin"
