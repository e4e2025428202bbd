#!/bin/sh
# Builds every program of an office, static, as the images and packages have them, and prints the folder they are in.
#
#   scripts/static-programs.sh [PACKAGE...]       of these packages only, where some are named
#
# No path of this machine goes into them, so two folders give the same files.
set -eu

cd "$(dirname "$0")/.."
host="$(rustc --print host-tuple)"
target="${CARGO_TARGET_DIR:-$PWD/target}"
which="--workspace --exclude tinyclaw-e2e --exclude tinyclaw-tidy"
if [ $# -gt 0 ]; then which="$(printf -- '--package %s ' "$@")"; fi
# shellcheck disable=SC2086 # options and their values
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=$target=/target --remap-path-prefix=$PWD=/tinyclaw --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    CARGO_PROFILE_RELEASE_STRIP=symbols cargo build --release --target "$host" --bins --quiet $which >&2
echo "$target/$host/release"
