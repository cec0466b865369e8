#!/usr/bin/env bash
# The Dockerfiles, scripts, compose file, manifests and bake file, each held to its own linter or schema.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(ci/tools.sh images)

"$bin/hadolint" --config docker/hadolint.yaml docker/Dockerfile.vllm docker/Dockerfile.sglang
"$bin/shellcheck" docker/*.sh
"$bin/check-jsonschema" --quiet --builtin-schema vendor.compose-spec docker/compose.yaml
for manifest in docker/k8s/*.yaml; do "$bin/kubernetes-validate" --strict --quiet "$manifest"; done
"$bin/hcl2tojson" --quiet docker/docker-bake.hcl >/dev/null
