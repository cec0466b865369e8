#!/usr/bin/env bash
# A release, up to what a person publishes: ci/release.sh --dry-run builds and checks all of it into dist/ and changes
# nothing; without it the cut CHANGELOG.md is written too, to be committed and tagged. Publishes nothing itself.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.venvs/release
if [ ! "$folder/.done" -nt ci/locks/release.txt ]; then
    "${PYTHON:-python3.11}" -m venv "$folder"
    "$folder/bin/python" -m pip --disable-pip-version-check -qq install --no-deps -r ci/locks/release.txt
    touch "$folder/.done"
fi
exec "$folder/bin/python" ci/release.py "$@"
