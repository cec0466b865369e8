#!/usr/bin/env bash
# A release, up to what a person publishes: ci/release.sh --dry-run builds and checks all of it into dist/ and changes
# nothing; without it the cut CHANGELOG.md is written too, to be committed and tagged. Publishes nothing itself.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(ci/tools.sh release)
exec "$bin/python" ci/release.py "$@"
