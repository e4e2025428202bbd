#!/bin/sh
# Every program of an office compiled for arm64, and started on it as far as an emulator of one process goes: the
# broker and the gateway answer, the router decides what it decides here, and the package names the machine it is for. Landlock, systemd
# and the kernel's limits are not seen here.
#
#   deploy/testing/arm.sh       after cargo build -p tinyclaw-cli, whose answers are compared
#
# Debian's compiler for the web browsers has a standard library for arm64; it and what it needs are unpacked into the cache, about 500
# MB, and nothing is installed but the linker and the emulator. Exit codes: 0 all held, 1 something did not, 77 a tool cannot be had.
set -eu

cd "$(dirname "$0")/../.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh
# shellcheck source=deploy/testing/holds.sh
. deploy/testing/holds.sh

skip() {
    echo "skipped: $1"
    exit 77
}

run="$(mktemp -d)"
asked=""
cleanup() {
    trap '' INT TERM
    [ -z "$asked" ] || kill "$asked" 2>/dev/null || true
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
log="$run/holds"
failures="$run/failures"

[ "$(uname -m)" = x86_64 ] || skip "it compiles for another machine than its own, and that is written for x86_64"
grep -qx VERSION_CODENAME=bookworm /etc/os-release || skip "the compiler's packages are those of Debian 12"
from_apt aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross || skip "a linker for arm64 is missing; $advice"
from_apt qemu-aarch64-static qemu-user-static || skip "qemu-aarch64-static is missing; $advice"

# --- the compiler -----------------------------------------------------------------------------------------------------------

rust="$cache/arm"
if [ ! -x "$rust/rustc" ]; then
    echo "fetching Debian's compiler with a library for arm64, once"
    rm -rf "$rust"
    mkdir -p "$rust/lists/partial" "$rust/packages/partial" "$rust/root"
    # Lists of its own: this machine stays one of amd64 packages.
    cat >"$rust/apt.conf" <<END
APT::Architectures { "amd64"; "arm64"; };
Dir::State::Lists "$rust/lists";
Dir::Cache "$rust/packages";
END
    export APT_CONFIG="$rust/apt.conf"
    (
        cd "$rust/packages"
        apt-get -qq update
        apt-get -qq download rustc-web libstd-rust-web-dev:arm64 libstd-rust-web-dev:amd64 libstd-rust-web-1.96:amd64 \
            libllvm22:amd64 libedit2:amd64 libffi8:amd64 libxml2:amd64 libz3-4:amd64
    ) >"$run/apt" 2>&1 || skip "the compiler cannot be fetched: $(grep -v '^W:' "$run/apt" | tail -n 1)"
    unset APT_CONFIG
    for it in "$rust"/packages/*.deb; do dpkg-deb --extract "$it" "$rust/root"; done
    rm -rf "$rust/packages" "$rust/lists"
    # Only rustc finds its libraries there: what it starts, the linker above all, finds this machine's.
    cat >"$rust/rustc.half" <<END
#!/bin/sh
LD_LIBRARY_PATH="$rust/root/usr/lib/x86_64-linux-gnu" exec "$rust/root/usr/bin/rustc" "\$@"
END
    chmod +x "$rust/rustc.half"
    mv "$rust/rustc.half" "$rust/rustc"
fi

# --- the programs -----------------------------------------------------------------------------------------------------------

export RUSTC="$rust/rustc" TINYCLAW_TARGET=aarch64-unknown-linux-gnu CARGO_TARGET_DIR="$PWD/target/arm" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
began="$(date +%s)"
programs="$(scripts/static-programs.sh)"
echo "compiled in $(($(date +%s) - began)) s"
there() {
    it="$1"
    shift
    env -i HOME="$run" TINYCLAW_DIR="$run/state" BROKER_LISTEN="$broker" GATEWAY_LISTEN="$gateway" qemu-aarch64-static "$programs/$it" "$@"
}
broker="127.0.0.1:$((20000 + $$ % 10000))"
gateway="127.0.0.1:$((30000 + $$ % 10000))"
mkdir "$run/state"

alone() { ! aarch64-linux-gnu-readelf -l "$programs/$1" | grep INTERP; }
names="$(sed -n 's,.*dst: /usr/lib/tinyclaw/\([a-z-]*\)\, file_info.*,\1,p' deploy/deb/nfpm.yaml | grep -vx admin)"
for it in $names; do
    holds "$it is for arm64" said AArch64 aarch64-linux-gnu-readelf -h "$programs/$it"
    holds "$it needs no library" alone "$it"
    holds "$it starts there" there "$it" --version
done
# serves NAME ADDRESS
serves() {
    there "$1" >"$run/$1" 2>&1 &
    asked=$!
    holds "$1 answers /health" within 60 curl --silent --fail --max-time 5 "http://$2/health"
    kill "$asked"
    wait "$asked" || true
    asked=""
}
serves tinyclaw-broker "$broker"
serves tinyclaw-gateway "$gateway"
same() {
    there tinyclaw route "$1" >"$run/there" && TINYCLAW_DIR="$run/state" target/debug/tinyclaw route "$1" >"$run/here" && diff "$run/here" "$run/there"
}
for it in "thanks" "deploy to production" "Prove that the scheduler never deadlocks, step by step." "поправь опечатку в README"; do
    holds "the router says the same of: $it" same "$it"
done

package() { TINYCLAW_ARCH=aarch64 TINYCLAW_PROGRAMS="$programs" scripts/package.sh "$run/out" deb; }
holds "the package is made" package
holds "and names its machine" [ "$(dpkg-deb --field "$run"/out/*.deb Architecture)" = arm64 ]
if [ -s "$failures" ]; then
    echo "$(wc -l <"$failures") claims did not hold"
    exit 1
fi
