#!/bin/sh
# Builds every program of an office, static, as the images and packages have them, and prints the folder they are in.
set -eu

cd "$(dirname "$0")/.."
host="$(rustc --print host-tuple)"
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" CARGO_PROFILE_RELEASE_STRIP=symbols \
    cargo build --release --target "$host" --workspace --bins --quiet --exclude tinyclaw-e2e --exclude tinyclaw-tidy >&2
echo "${CARGO_TARGET_DIR:-target}/$host/release"
