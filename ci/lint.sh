#!/usr/bin/env bash
# The workflows, the pipeline, the matrix, the results and the shell scripts, each held to its own linter or schema.
# Makes .venvs/lint from ci/locks/lint.txt where it is not there or older than that. Needs no network afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.venvs/lint
if [ ! "$folder/.done" -nt ci/locks/lint.txt ]; then
    "${PYTHON:-python3.11}" -m venv "$folder"
    "$folder/bin/python" -m pip --disable-pip-version-check -qq install --no-deps -r ci/locks/lint.txt
    touch "$folder/.done"
fi
bin=$folder/bin
schema() { "$bin/check-jsonschema" --quiet "$@"; }

PATH=$PWD/$bin:$PATH "$bin/actionlint"
"$bin/zizmor" --offline --quiet --no-progress .github
schema --builtin-schema vendor.github-workflows .github/workflows/*.yml
schema --builtin-schema vendor.buildkite ci/buildkite.yml
schema --schemafile ci/matrix.schema.json ci/matrix.json
results=(ci/results/*.json)
[ ! -e "${results[0]}" ] || schema --schemafile ci/result.schema.json "${results[@]}"
"$bin/shellcheck" --severity=warning ci/*.sh .ci/run
