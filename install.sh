#!/bin/sh
# Installs TinyClaw on this machine: the package where root runs systemd and dpkg, else the programs into ~/.local.
#
#   install.sh [--dry-run]
#
# TINYCLAW_VERSION is another version than the one this was released with; TINYCLAW_BASE_URL is where releases are (https, or
# file:// for a folder). Nothing is unpacked before its sha256 was checked, nothing runs as somebody else than the caller, and at
# the end it says how to undo it.
#
# Everything stands in one function that the last line calls, so that half a download does nothing.
set -eu

main() {
    # Written in by a release. In the repository they are empty, and have to be said.
    released=""
    base=""
    sums=""

    version="${TINYCLAW_VERSION:-$released}"
    [ -z "${TINYCLAW_BASE_URL:-}" ] || base="$TINYCLAW_BASE_URL"
    # Another version, or another place, has its own sums.
    if [ "$version" != "$released" ] || [ -n "${TINYCLAW_BASE_URL:-}" ]; then sums=""; fi
    dry=""
    for it in "$@"; do
        case "$it" in
            --dry-run) dry=yes ;;
            *) stop 2 "install does not know $it" "install.sh [--dry-run]" ;;
        esac
    done
    { [ -n "$version" ] && [ -n "$base" ]; } \
        || stop 2 "this is not the file of a release, so it knows neither version nor place" \
            "TINYCLAW_VERSION=2026.11.0 TINYCLAW_BASE_URL=https://…/releases sh install.sh"
    case "$version" in
        *[!0-9.]* | *.*.*.*) stop 2 "\"$version\" is no version" "one such as 2026.11.0" ;;
        *.*.*) ;;
        *) stop 2 "\"$version\" is no version" "one such as 2026.11.0" ;;
    esac
    case "$base" in
        https://* | file://* | http://127.0.0.1:*) ;;
        *) stop 2 "$base is neither https:// nor file://" "what is checked must have a checked sender" ;;
    esac
    [ "$(uname -s)" = Linux ] || stop 1 "TinyClaw runs on Linux" "on macOS, in Docker: README.md"
    case "$(uname -m)" in
        x86_64) arch=amd64 ;;
        aarch64 | arm64) arch=arm64 ;;
        *) stop 1 "there is no TinyClaw for $(uname -m)" "build it: cargo build --release" ;;
    esac
    for it in curl sha256sum tar; do
        command -v "$it" >/dev/null || stop 1 "$it is missing" "install it with your system's packages"
    done

    kind=tar
    if [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && command -v dpkg >/dev/null; then kind=deb; fi
    case "$kind" in
        deb) name="tinyclaw_${version}_$arch.deb" ;;
        tar) name="tinyclaw-$version-linux-$arch.tar.gz" ;;
    esac
    month="${version#*.}"
    month="${month%.*}"
    [ "${#month}" = 2 ] || month="0$month"
    from="$base/download/v${version%%.*}.$month.${version##*.}"

    if [ -n "$dry" ]; then
        echo "would fetch $from/$name, check its sha256, and install it"
        return
    fi
    desk="$(mktemp -d)"
    trap 'rm -rf "$desk"' EXIT
    if [ -n "$sums" ]; then
        echo "$sums" >"$desk/SHA256SUMS"
    else
        fetch "$from/SHA256SUMS" "$desk/SHA256SUMS"
    fi
    sum="$(awk -v name="$name" '$2 == name { print $1 }' "$desk/SHA256SUMS")"
    [ -n "$sum" ] || stop 1 "the release $version has no $name" "$from lists what it has"
    echo "fetching $from/$name"
    fetch "$from/$name" "$desk/$name"
    if [ "$(sha256sum "$desk/$name" | cut -d' ' -f1)" != "$sum" ]; then
        stop 1 "$name is not what its sha256 says, and nothing is installed" "try again; when it stays so, report it"
    fi

    case "$kind" in
        deb)
            dpkg --install "$desk/$name"
            echo "TinyClaw $version is installed; to undo it: apt purge tinyclaw"
            ;;
        tar)
            [ -n "${HOME:-}" ] || stop 1 "HOME is not set" "HOME=/home/you sh install.sh"
            there="$HOME/.local/lib/tinyclaw"
            mkdir -p "$HOME/.local/bin" "$HOME/.local/lib"
            rm -rf "$there.new"
            mkdir "$there.new"
            tar -xzf "$desk/$name" -C "$there.new"
            rm -rf "$there"
            mv "$there.new" "$there"
            ln -sf "$there/tinyclaw" "$HOME/.local/bin/tinyclaw"
            echo "TinyClaw $version is in $there; to undo it: rm -r $there $HOME/.local/bin/tinyclaw"
            case ":${PATH:-}:" in
                *":$HOME/.local/bin:"*) ;;
                *) echo "  → $HOME/.local/bin is not in PATH" ;;
            esac
            echo "  → tinyclaw demo shows it, tinyclaw setup makes an office"
            ;;
    esac
}

fetch() {
    # Who is led elsewhere is led by https only.
    curl --silent --show-error --fail --location --proto-redir '=https' --retry 3 --output "$2" "$1" \
        || stop 1 "$1 cannot be fetched, and nothing is installed" "look whether that release is there"
}

stop() {
    printf 'install: %s\n  → %s\n' "$2" "$3" >&2
    exit "$1"
}

main "$@"
