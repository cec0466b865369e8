#!/usr/bin/env bash
# Build one image: docker/build.sh vllm|sglang cpu|rocm|cuda [TAG]. The pins are those of versions.env.
# Set in the environment: CPU_IMAGE, VLLM_ROCM_IMAGE, ... in place of a pin; WHEELS, an image with wheels at its root, to
# build without a package index; CA_BUNDLE and PIP_CONF, files that pip needs and that stay out of the image; NETWORK, and
# TARGET, a stage to stop at.
set -euo pipefail

usage() { printf 'error: %s\n\nhint: docker/build.sh vllm|sglang cpu|rocm|cuda [TAG]\n' "$1" >&2; exit 2; }

engine=${1:-}
vendor=${2:-}
case $engine in vllm | sglang) ;; *) usage "found engine \`$engine\`; one of \`vllm\`, \`sglang\`" ;; esac
case $vendor in cpu | rocm | cuda) ;; *) usage "found vendor \`$vendor\`; one of \`cpu\`, \`rocm\`, \`cuda\`" ;; esac
tag=${3:-glm-rocm:$engine-$vendor}
root=$(cd "$(dirname "$0")/.." && pwd)
docker=${DOCKER:-docker}

arguments=(--file "$root/docker/Dockerfile.$engine" --tag "$tag" --build-arg "VENDOR=$vendor")
# What the Dockerfile declares, from the environment or else from the pins.
while IFS='=' read -r name value; do
    if grep -qE "^ARG $name(=|$)" "$root/docker/Dockerfile.$engine"; then arguments+=(--build-arg "$name=${!name:-$value}"); fi
done < <(grep -E '^[A-Z0-9_]+=' "$root/docker/versions.env"; printf 'WHEELS=no-wheels\nCOMPILE_ARGS=\n')
if revision=$(git -C "$root" rev-parse HEAD 2>/dev/null); then arguments+=(--build-arg "REVISION=$revision"); fi
if [ -n "${CA_BUNDLE:-}" ]; then arguments+=(--secret "id=ca_bundle,src=$CA_BUNDLE"); fi
if [ -n "${PIP_CONF:-}" ]; then arguments+=(--secret "id=pip_conf,src=$PIP_CONF"); fi
if [ -n "${TARGET:-}" ]; then arguments+=(--target "$TARGET"); fi
if [ -n "${NETWORK:-}" ]; then arguments+=(--network "$NETWORK"); fi

DOCKER_BUILDKIT=1 "$docker" build --progress=plain "${arguments[@]}" "$root"
