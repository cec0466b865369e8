#!/usr/bin/env bash
# The workflows, the pipeline, the matrix, the results and the shell scripts, each held to its own linter or schema.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(ci/tools.sh lint)
schema() { "$bin/check-jsonschema" --quiet "$@"; }

PATH=$PWD/$bin:$PATH "$bin/actionlint"
"$bin/zizmor" --offline --quiet --no-progress .github
schema --builtin-schema vendor.github-workflows .github/workflows/*.yml
schema --builtin-schema vendor.buildkite ci/buildkite.yml
schema --schemafile ci/matrix.schema.json ci/matrix.json
results=(ci/results/*.json)
[ ! -e "${results[0]}" ] || schema --schemafile ci/result.schema.json "${results[@]}"
"$bin/shellcheck" --severity=warning ci/*.sh .ci/run
