#!/usr/bin/env bash
# Build the CPU images and run tests/docker against them: docker/test.sh [vllm] [sglang]; both by default.
#
# Where no docker daemon answers, one is started by hand for this run alone (needs root and Debian's docker.io). Where
# the base image cannot be pulled, a stand-in is made from the distribution's packages (needs mmdebstrap), and the wheels
# are fetched by pip's own settings on this side. KEEP=1 keeps the images and the work folder named by WORK.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"
python=${PY:-$root/.venvs/vllm/bin/python}
engines=("$@")
[ "${#engines[@]}" -gt 0 ] || engines=(vllm sglang)
stand_in=localhost/glm-rocm-base:bookworm
daemon=
made=()

fail() { printf 'error: %s\n\nhint: %s\n' "$1" "$2" >&2; exit 2; }
say() { printf '[%4ds] %s\n' "$SECONDS" "$1" >&2; }
# Debian's client has BuildKit by itself; another one, first on the path, may lack it.
DOCKER=${DOCKER:-$(PATH=/usr/bin:$PATH command -v docker || echo docker)}
export DOCKER
docker() { command "$DOCKER" "$@"; }

cleanup() {
    if [ -z "${KEEP:-}" ] && [ "${#made[@]}" -gt 0 ]; then docker rmi --force "${made[@]}" >/dev/null 2>&1 || true; fi
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" && wait "$daemon" || true
        umount "$work"/exec/netns/* 2>/dev/null || true
    fi
    [ -n "${KEEP:-}" ] || [ -n "${WORK:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

start_daemon() {
    command -v dockerd >/dev/null || fail "no docker daemon answers, and there is no \`dockerd\`" "apt-get install docker.io iptables mmdebstrap"
    export DOCKER_HOST=unix://$work/docker.sock
    dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/docker.pid" -H "$DOCKER_HOST" \
        --iptables=false --ip6tables=false --bridge=none >"$work/dockerd.log" 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        if docker info >/dev/null 2>&1; then return; fi
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.1
    done
    fail "dockerd does not start: $(tail -n 1 "$work/dockerd.log")" "run as root, on a kernel that lets dockerd mount and make namespaces"
}

# The base of the CPU images, pulled or made; its name is CPU_IMAGE afterwards.
base() {
    local pinned
    pinned=$(sed -n 's/^CPU_IMAGE=//p' "$root/docker/versions.env")
    export CPU_IMAGE=${CPU_IMAGE:-$pinned}
    if docker image inspect "$CPU_IMAGE" >/dev/null 2>&1 || docker pull --quiet "$CPU_IMAGE" >/dev/null 2>&1; then return; fi
    CPU_IMAGE=$stand_in
    if docker image inspect "$CPU_IMAGE" >/dev/null 2>&1; then return; fi
    command -v mmdebstrap >/dev/null || fail "\`$pinned\` cannot be pulled, and there is no \`mmdebstrap\`" "apt-get install mmdebstrap"
    say "making a stand-in for $pinned"
    local sources=/etc/apt/sources.list.d/debian.sources
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$work/base.tar" "$sources"
    docker import -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$work/base.tar" "$CPU_IMAGE" >/dev/null
    rm "$work/base.tar"
    made+=("$CPU_IMAGE")
}

# The locked wheels as an image, for a build that reaches no index by itself.
wheels() {
    local lock=$root/ci/locks/$1-cpu.txt
    WHEELS=localhost/glm-rocm-wheels:$1-cpu-$(sha256sum "$lock" | cut -c 1-12)
    export WHEELS
    if docker image inspect "$WHEELS" >/dev/null 2>&1; then return; fi
    say "fetching the wheels of ci/locks/$1-cpu.txt"
    local folder=$work/wheels-$1
    mkdir -p "$folder"
    "$python" -m pip --disable-pip-version-check -qq download --no-deps --dest "$folder" -r "$lock"
    tar -C "$folder" -c . | docker import - "$WHEELS" >/dev/null
    rm -rf "$folder"
    made+=("$WHEELS")
}

docker info >/dev/null 2>&1 || start_daemon
base
export NETWORK=host GLM_ROCM_IMAGES_REQUIRED=1
"$root/docker/lint.sh"
for engine in "${engines[@]}"; do
    if [ "$CPU_IMAGE" = "$stand_in" ]; then wheels "$engine"; fi
    say "building glm-rocm:$engine-cpu"
    "$root/docker/build.sh" "$engine" cpu >"$work/build-$engine.log" 2>&1 ||
        fail "the build of $engine failed: $(grep -m 1 -i error "$work/build-$engine.log" | cut -c 1-300)" "read $work/build-$engine.log, with KEEP=1 WORK=FOLDER"
    made+=("glm-rocm:$engine-cpu")
    # The rocm stage on our own CPU environment: all of our layers, none of the vendor's.
    upper=$(tr '[:lower:]' '[:upper:]' <<<"$engine")
    say "building the rocm and cuda stages of $engine on a stand-in"
    TARGET=cpu-engine "$root/docker/build.sh" "$engine" cpu "localhost/glm-rocm-stand-in:$engine" >"$work/build-$engine-stand-in.log" 2>&1 ||
        fail "the build of $engine's environment failed" "read $work/build-$engine-stand-in.log, with KEEP=1 WORK=FOLDER"
    for vendor in rocm cuda; do
        variable=${upper}_${vendor^^}_IMAGE
        env "$variable=localhost/glm-rocm-stand-in:$engine" COMPILE_ARGS="--op quant" \
            "$root/docker/build.sh" "$engine" "$vendor" "glm-rocm:$engine-$vendor-stand-in" >"$work/build-$engine-$vendor.log" 2>&1 ||
            fail "the $vendor stage of $engine failed: $(grep -m 1 -i error "$work/build-$engine-$vendor.log" | cut -c 1-300)" "read $work/build-$engine-$vendor.log, with KEEP=1 WORK=FOLDER"
        made+=("glm-rocm:$engine-$vendor-stand-in")
    done
    made+=("localhost/glm-rocm-stand-in:$engine")
done
say "running them"
cd "$root" && "$python" -m pytest -m image tests/docker
