#!/usr/bin/env bash
# Every cell that needs no card, one after the other: ci/matrix.sh [TIER]. What passed with this code is not run again.
set -euo pipefail
cd "$(dirname "$0")/.."
cells=$(python3 ci/matrix.py names --tier "${1:-weekly}")
worst=0
for cell in $cells; do
    ci/cell.sh "$cell" --resume || worst=1
done
exit "$worst"
