#!/usr/bin/env bash
# What an image holds, as CycloneDX JSON: docker/sbom.sh IMAGE FILE. Needs no network once .venvs/images is made.
set -euo pipefail
image=${1:?usage: docker/sbom.sh IMAGE FILE}
file=${2:?usage: docker/sbom.sh IMAGE FILE}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${DOCKER:-docker}" save --output "$work/image.tar" "$image"
SYFT_CHECK_FOR_APP_UPDATE=false "$root/.venvs/images/bin/syft" scan --quiet "docker-archive:$work/image.tar" -o "cyclonedx-json=$file"
