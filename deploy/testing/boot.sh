#!/bin/sh
# The package in a machine of its own: systemd as PID 1, Debian 12, nothing of ours before. Installed, asked, killed, upgraded,
# backed up, restored, started again, removed. And in another one, with a network: the stages that fetch their tools, and Claude.
#
#   deploy/testing/boot.sh [office | bare | cloud | large | vm]...      the first three, when none is named; with TINYCLAW_LONG=yes large, too
#
# `vm` is the machine of `cloud` once more, emulated, with a kernel of its own.
#
# Needs root, for systemd-nspawn. What is made once (the root filesystem, 490 MB) lies in the cache. TINYCLAW_PROGRAMS=DIR has
# programs that were built before, which need no library that Debian 12 has not; TINYCLAW_KEEP=yes keeps what was written.
#
# Exit codes: 0 all held, 1 something did not, 77 the machine cannot be had (the last line says why).
set -eu

cd "$(dirname "$0")/../.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

skip() {
    echo "skipped: $1"
    exit 77
}

wanted="${*:-office bare cloud${TINYCLAW_LONG:+ large}}"
wants() {
    case " $wanted " in *" $1 "*) return 0 ;; esac
    return 1
}

[ "$(uname -s)" = Linux ] || skip "systemd-nspawn needs Linux"
[ "$(id -u)" = 0 ] || skip "systemd-nspawn needs root; sudo ./tinyclaw.sh test boot"
from_apt systemd-nspawn systemd-container || skip "systemd-nspawn is missing; $advice"
from_apt mmdebstrap mmdebstrap || skip "mmdebstrap is missing; $advice"

run="$(mktemp -d)"
cleanup() {
    trap '' INT TERM
    for it in "$run/root" "$run/bare/root"; do ! mountpoint -q "$it" || umount "$it"; done
    if [ -n "${TINYCLAW_KEEP:-}" ]; then echo "kept: $run"; else rm -rf "$run"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- the machine --------------------------------------------------------------------------------------------------------

suite=bookworm
packages=systemd,systemd-sysv,dbus,udev,cloud-init,ufw,fail2ban,iptables,openssh-server,unattended-upgrades,ca-certificates,curl,git,python3-systemd,e2fsprogs,iproute2,netbase,procps
# debian NAME PACKAGES: a root filesystem in the cache, made once. Its folder goes into `base`.
debian() {
    base="$cache/boot/$1"
    [ ! -e "$base/etc/debian_version" ] || return 0
    echo "making a Debian of its own, once; two to three minutes"
    rm -rf "$base.half"
    mkdir -p "$cache/boot"
    mmdebstrap --quiet --variant=minbase --include="$2" "$suite" "$base.half" >"$run/mmdebstrap" 2>&1 \
        || { tail -n 5 "$run/mmdebstrap"; skip "the packages of Debian 12 cannot be had; mmdebstrap $suite /tmp/x"; }
    mv "$base.half" "$base"
}
debian "$suite" "$packages"

mkdir -p "$run/root" "$run/in" "$run/out"

# fresh_machine: one on disk, so that it can be started again and remember.
fresh_machine() {
    ! mountpoint -q "$run/root" || umount "$run/root"
    rm -rf "$run/upper" "$run/work"
    mkdir "$run/upper" "$run/work"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$run/upper,workdir=$run/work" "$run/root" 2>"$run/mount" \
        || skip "an overlay cannot be mounted: $(cat "$run/mount")"
    : >"$run/root/etc/machine-id"
    : >"$run/root/etc/apt/sources.list"
    rm -f "$run/root/usr/sbin/policy-rc.d"
    # Kept, to be read from outside.
    mkdir -p "$run/root/var/log/journal"
    cat >"$run/root/etc/systemd/system/selftest.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=/bin/sh /in/scenario.sh
StandardOutput=file:/out/log
StandardError=file:/out/log
ExecStopPost=systemctl exit --no-block
TimeoutStartSec=600
END
}

# boot NAME: starts the machine, lets it play the scenario, and shows what it said.
boot() {
    cp "deploy/testing/$1.sh" "$run/in/scenario.sh"
    cp deploy/testing/holds.sh deploy/testing/s3.py "$run/in/"
    rm -f "$run/out/log" "$run/out/done"
    # Without the filter nspawn itself would hide Landlock.
    timeout --kill-after=10 660 systemd-nspawn --quiet --register=no --keep-unit --directory="$run/root" --private-network \
        --bind-ro="$run/in:/in" --bind="$run/out:/out" \
        --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self bpf" \
        --boot systemd.wants=selftest.service </dev/null >"$run/out/console" 2>&1 || true
    if [ ! -e "$run/out/log" ]; then
        tail -n 15 "$run/out/console"
        skip "systemd does not come up in a container here"
    fi
    cat "$run/out/log"
    [ ! -s "$run/out/failures" ] || journalctl --directory="$run/root/var/log/journal" --boot --no-pager --lines 40 --output cat \
        --unit 'tinyclaw-*' 2>/dev/null | sed 's/^/  | /' || true
    [ -e "$run/out/done" ] || { echo "  FAILED: the scenario did not come to its end"; echo 1 >>"$run/out/failures"; }
}

# bare: the same Debian with this machine's network, certificates and Rust, and nothing else of it. Says what it did in its own log.
bare() {
    mkdir -p "$run/bare/root" "$run/bare/upper/src" "$run/bare/work"
    { git ls-files --cached --others --exclude-standard 2>/dev/null || find . -type f -not -path './target/*' -not -path './.git/*'; } \
        | tar -cf - -T - 2>/dev/null | tar -C "$run/bare/upper/src" -xf -
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$run/bare/upper,workdir=$run/bare/work" "$run/bare/root" || return 1
    rm -f "$run/bare/root/usr/sbin/policy-rc.d"
    mkdir -p "$run/bare/root/opt/cargo/registry"
    sysroot="$(rustc --print sysroot)"
    registry="$(npm config get registry 2>/dev/null || true)"
    set -- --bind-ro="$sysroot" --setenv=PATH="$sysroot/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        --setenv=CI=true --setenv=HOME=/root --setenv=CARGO_HOME=/opt/cargo --setenv=NPM_CONFIG_REGISTRY="${NPM_CONFIG_REGISTRY:-$registry}" \
        --setenv=TINYCLAW_FAILURES=/out/bare.failures
    # How this machine reaches what is outside.
    for it in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
        if [ -e "$it" ]; then set -- "$@" --bind-ro="$it"; fi
    done
    for it in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_CERT PIP_INDEX_URL; do
        value="$(printenv "$it" || true)"
        if [ -n "$value" ]; then set -- "$@" --setenv="$it=$value"; fi
    done
    # The sources of the crates, read only: four hundred downloads that say nothing here.
    crates="${CARGO_HOME:-$HOME/.cargo}/registry"
    if [ -d "$crates" ]; then set -- "$@" --overlay="$crates::/opt/cargo/registry"; fi
    timeout --kill-after=10 600 systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --directory="$run/bare/root" --resolv-conf=copy-host \
        --bind-ro="$run/in:/in" --bind="$run/out:/out" "$@" /bin/sh /in/bare.sh </dev/null >"$run/out/bare.log" 2>&1 || true
}

# --- the packages -------------------------------------------------------------------------------------------------------

programs="${TINYCLAW_PROGRAMS:-}"
[ -n "$programs" ] || programs="$(scripts/static-programs.sh)"
export TINYCLAW_PROGRAMS="$programs"
pack() {
    TINYCLAW_VERSION="$2" TINYCLAW_PROGRAMS="$3" scripts/package.sh "$run/in/$1" deb >"$run/pack" 2>&1 || {
        code=$?
        tail -n 3 "$run/pack"
        [ "$code" != 77 ] || skip "$(tail -n 1 "$run/pack")"
        exit 1
    }
}
began="$(date +%s%N)"
pack now 2026.11.0 "$programs"
echo "packed: $(du -h "$run"/in/now/*.deb | cut -f1) in $((($(date +%s%N) - began) / 1000000)) ms"
if wants office; then
    pack later 2026.11.1 "$programs"
    # One whose telegram does not start.
    mkdir "$run/bad"
    for it in "$programs"/*; do if [ -f "$it" ] && [ -x "$it" ]; then ln -s "$(realpath "$it")" "$run/bad/"; fi; done
    rm "$run/bad/tinyclaw-telegram"
    printf '#!/bin/sh\nexit 1\n' >"$run/bad/tinyclaw-telegram"
    chmod +x "$run/bad/tinyclaw-telegram"
    pack bad 2026.11.2 "$run/bad"
fi
install -m 0755 "$programs/fake-telegram" "$run/in/fake-telegram"

# --- what happens in it ---------------------------------------------------------------------------------------------------

if wants large; then
    fresh_machine
    boot large
fi
if wants office; then
    fresh_machine
    boot office
fi
# Beside what prints no times.
apart=""
if wants bare; then
    cp deploy/testing/bare.sh deploy/testing/holds.sh "$run/in/"
    bare &
    apart=$!
fi
if wants office; then boot again; fi

# user_data FOLDER FILE: what cloud-init gets, as the plan fills it in, but for what is not here: the release's place, which is FOLDER
# then, and the tailnet.
user_data() {
    TINYCLAW_USER_DATA="$run/user-data" deploy/testing/tofu.sh >"$run/tofu" 2>&1 || return 1
    sed "/Its state is on the volume/,/the tailnet calls this machine/d; s|'https://[^']*_amd64.deb'|'file://$1/$(basename "$package")'|; \
        s|'[0-9a-f]\{64\}'|'$(sha256sum "$package" | cut -d' ' -f1)'|; /^package_update/d; s/^packages:.*/packages: []/" "$run/user-data" >"$2"
}
package="$(find "$run/in/now" -name '*.deb')"
if wants cloud; then
    fresh_machine
    seed="$run/root/var/lib/cloud/seed/nocloud"
    mkdir -p "$seed"
    echo "instance-id: one" >"$seed/meta-data"
    if user_data /in/now "$seed/user-data"; then
        boot cloud
    else
        echo "not tried: cloud-init ($(tail -n 1 "$run/tofu"))"
    fi
fi
if wants vm; then
    from_apt qemu-system-x86_64 qemu-system-x86 || skip "qemu-system-x86_64 is missing; $advice"
    from_apt genisoimage genisoimage || skip "genisoimage is missing; $advice"
    debian vm "$packages,linux-image-cloud-amd64,initramfs-tools"
    fresh_machine
    user_data /in "$run/vm-user-data" || skip "$(tail -n 1 "$run/tofu")"
    cat >"$run/root/etc/systemd/system/selftest.service" <<'END'
[Unit]
After=local-fs.target
RequiresMountsFor=/in
[Service]
Environment=HOME=/root
ExecStart=/bin/sh /in/machine.sh
END
    mkdir "$run/root/in"
    echo "LABEL=cidata /in iso9660 ro 0 0" >"$run/root/etc/fstab"
    deploy/testing/vm.py "$run/root" "$package" "$run/vm-user-data" || echo "vm" >>"$run/out/failures"
fi
if [ -n "$apart" ]; then
    wait "$apart" || echo "an overlay cannot be mounted for it" >>"$run/out/bare.log"
    # What nspawn says of a mount of its own when it is over is no news.
    grep -v "^Attempted to remove disk file system" "$run/out/bare.log"
    [ -e "$run/out/bare.done" ] || echo "nothing installed before: it did not come to its end" >>"$run/out/failures"
    [ ! -s "$run/out/bare.failures" ] || cat "$run/out/bare.failures" >>"$run/out/failures"
fi
if [ -s "$run/out/failures" ]; then
    echo "$(wc -l <"$run/out/failures") claims did not hold"
    exit 1
fi
