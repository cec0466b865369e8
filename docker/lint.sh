#!/usr/bin/env bash
# The Dockerfiles, scripts, compose file, manifests and bake file, each held to its own linter or schema.
# Makes .venvs/images from ci/locks/images.txt where it is not there or older than that. Needs no network afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.venvs/images
if [ ! "$folder/.done" -nt ci/locks/images.txt ]; then
    "${PYTHON:-python3.11}" -m venv "$folder"
    "$folder/bin/python" -m pip --disable-pip-version-check -qq install --no-deps -r ci/locks/images.txt
    touch "$folder/.done"
fi
bin=$folder/bin

"$bin/hadolint" --config docker/hadolint.yaml docker/Dockerfile.vllm docker/Dockerfile.sglang
"$bin/shellcheck" docker/*.sh
"$bin/check-jsonschema" --quiet --builtin-schema vendor.compose-spec docker/compose.yaml
for manifest in docker/k8s/*.yaml; do "$bin/kubernetes-validate" --strict --quiet "$manifest"; done
"$bin/hcl2tojson" --quiet docker/docker-bake.hcl >/dev/null
