#!/bin/sh
# install.sh and the demo's offer, against releases in a folder and on a loopback server: what is fetched, checked, refused.
#
#   deploy/testing/install.sh FOLDER      where scripts/package.sh has put a release
set -eu

cd "$(dirname "$0")/../.."
release="$1"
desk="$(mktemp -d)"
server=""
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$desk"
}
trap cleanup EXIT
failures=0
holds() {
    claim="$1"
    shift
    if "$@" >"$desk/log" 2>&1; then
        echo "  ok: $claim"
    else
        echo "  FAILED: $claim"
        tail -n 5 "$desk/log" | sed 's/^/      /'
        failures=$((failures + 1))
    fi
}
fails() { ! "$@"; }

version="$(cat "$release/VERSION")"
tag="v$(echo "$version" | awk -F. '{ printf "%d.%02d.%d", $1, $2, $3 }')"
mkdir -p "$desk/web/download/$tag" "$desk/home"
person=""
if [ "$(id -u)" = 0 ]; then
    person="setpriv --reuid=65534 --regid=65534 --clear-groups"
    chmod 0755 "$desk"
    chown 65534 "$desk/home"
fi
cp "$release"/* "$desk/web/download/$tag/"

# in_shell SHELL VARIABLES...: installs with nothing of the caller's; as nobody in particular, so never the package.
in_shell() {
    shell="$1"
    shift
    # shellcheck disable=SC2086 # busybox sh is two words, and who is not root needs none
    $person env -i PATH=/usr/bin:/bin HOME="$desk/home" "$@" $shell "$desk/install.sh" >"$desk/said" 2>&1
}
says() { grep -qF -- "$1" "$desk/said" || { cat "$desk/said"; return 1; }; }
installed() { [ -x "$desk/home/.local/lib/tinyclaw/tinyclaw" ] && [ -L "$desk/home/.local/bin/tinyclaw" ]; }

shells="dash bash"
if command -v busybox >/dev/null; then shells="$shells busybox_sh"; fi
for it in $shells; do
    shell="$(echo "$it" | tr _ ' ')"
    cp install.sh "$desk/install.sh"
    rm -rf "$desk/home/.local"
    holds "$shell: the repository's own says what it lacks" fails in_shell "$shell"
    holds "$shell: a release from a folder is installed" in_shell "$shell" TINYCLAW_VERSION="$version" TINYCLAW_BASE_URL="file://$desk/web"
    holds "$shell: it is there" installed
    holds "$shell: and how to undo it is said" says "to undo it: rm -r"
done
rm -rf "$desk/home/.local"
holds "plain http is refused" fails in_shell dash TINYCLAW_VERSION="$version" TINYCLAW_BASE_URL=http://example.org
holds "a version that is none is refused" fails in_shell dash TINYCLAW_VERSION=latest TINYCLAW_BASE_URL="file://$desk/web"
holds "a release that is not there changes nothing" fails in_shell dash TINYCLAW_VERSION=2020.1.1 TINYCLAW_BASE_URL="file://$desk/web"
holds "and nothing is installed" fails installed
archive="$desk/web/download/$tag/tinyclaw-$version-linux-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/').tar.gz"
cp "$archive" "$desk/sound"
echo rubbish >>"$archive"
holds "an archive that is not what its sum says is refused" fails in_shell dash TINYCLAW_VERSION="$version" TINYCLAW_BASE_URL="file://$desk/web"
holds "it says so" says "is not what its sha256 says"
holds "and nothing is installed then" fails installed
cp "$desk/sound" "$archive"
head -c 2000 install.sh >"$desk/install.sh"
holds "half a download does nothing" fails in_shell dash TINYCLAW_VERSION="$version" TINYCLAW_BASE_URL="file://$desk/web"
holds "nothing at all" fails installed

# As it was released, from its own place.
(cd "$desk/web" && exec python3 -u -m http.server --bind 127.0.0.1 0 >"$desk/server" 2>&1) &
server=$!
until grep -qs "port [0-9]" "$desk/server"; do kill -0 "$server" && sleep 0.1; done
port="$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$desk/server" | head -n 1)"
sed "s,^    base=.*,    base=\"http://127.0.0.1:$port\"," "$release/install.sh" >"$desk/install.sh"
holds "the file of a release needs no word more" in_shell dash
holds "and checks by the sums in itself" fails grep -q SHA256SUMS "$desk/server"
holds "it is installed" installed

# The demo in a checkout, whose programs here do nothing and are well at once.
demo() {
    env -i PATH="/usr/bin:/bin" HOME="$desk/home" CI=true TINYCLAW_TEST_CACHE="$desk/cache" TINYCLAW_BASE_URL="http://127.0.0.1:$port" \
        ./tinyclaw.sh demo "$@" >"$desk/said" 2>&1
}
echo rubbish >>"$archive"
holds "the demo does not run what is not what its sum says" fails demo
holds "and says how to go on" says "demo --build compiles"
cp "$desk/sound" "$archive"
holds "the demo runs the released programs" demo --no-claude
holds "and says where they are from" says "fetching http://127.0.0.1:$port/download/$tag/"
holds "a second time they are there" demo
holds "and nothing is fetched" fails says fetching
[ "$failures" = 0 ]
