#!/bin/sh
# Prints the version of a tag, when it is Cargo's, and the first of the changelog, which must have a date.
#
#   scripts/release-version.sh v2026.02.1        prints 2026.2.1
set -eu

cd "$(dirname "$0")/.."
tag="${1:?which tag? scripts/release-version.sh v2026.02.1}"
echo "$tag" | grep -Eq '^v20[0-9]{2}\.(0[1-9]|1[0-2])\.[0-9]+$' || { echo "release: $tag is not vYYYY.MM.PATCH" >&2; exit 1; }
# Cargo refuses a leading zero.
version="$(echo "$tag" | awk -F'[v.]' '{ printf "%d.%d.%d", $2, $3, $4 }')"
cargo="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
[ "$version" = "$cargo" ] || { echo "release: the tag is $version, and Cargo.toml has $cargo" >&2; exit 1; }
top="$(grep -m 1 '^## ' CHANGELOG.md)"
case "$top" in
    "## $version"*"not released yet"*) echo "release: CHANGELOG.md still says that $version is not released" >&2; exit 1 ;;
    "## $version"*) ;;
    *) echo "release: the first of CHANGELOG.md is \"$top\", and not $version" >&2; exit 1 ;;
esac
echo "$version"
