#!/usr/bin/env bash
# One cell of the vendor matrix, for a person and for CI alike: ci/cell.sh CELL [--resume]. One result: ci/results/CELL.json.
set -euo pipefail
for python in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    if [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$(dirname "$0")/cell.py" "$@"
    fi
done
printf 'error: no Python 3.11 or newer found\n\nhint: %s\n' "apt-get install python3.11, or PYTHON=/path/to/python ci/cell.sh CELL" >&2
exit 2
