#!/usr/bin/env bash
# The user and the folders that it writes to. Group 0 may write there as well: an arbitrary user id has that group.
set -euo pipefail
getent passwd 10001 >/dev/null || useradd --uid 10001 --gid 0 --no-create-home --home-dir /var/cache/glm-rocm glm
mkdir -p /models /var/cache/glm-rocm/triton
chown -R 10001:0 /models /var/cache/glm-rocm
chmod -R g=u /models /var/cache/glm-rocm
