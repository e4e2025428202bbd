# shellcheck shell=sh
# shellcheck disable=SC2154 # `here` and `cache` are those of whoever reads this in
# The programs of a release, in place of compiling them. Read in by tinyclaw.sh; does nothing by itself.

# Where releases of this checkout are: said by TINYCLAW_BASE_URL, or at GitHub when the checkout is exactly a release.
release_base() {
    if [ -n "${TINYCLAW_BASE_URL:-}" ]; then
        echo "$TINYCLAW_BASE_URL"
    elif [ -e "$here/.git" ] && have git && git -C "$here" describe --exact-match --match 'v20*' HEAD >/dev/null 2>&1; then
        git -C "$here" remote get-url origin 2>/dev/null \
            | sed -n 's,^git@github.com:,https://github.com/,; s,\.git$,,; s,^https://github.com/.*,&/releases,p'
    fi
}

# released_programs: puts the folder of this version's programs into `found`, fetched once and checked. Fails where there is no
# release, or nobody wants it; what is there and is not what its sum says ends everything.
released_programs() {
    base="$(release_base)"
    [ -n "$base" ] || return 1
    case "$(uname -m)" in
        x86_64) arch=amd64 ;;
        aarch64) arch=arm64 ;;
        *) return 1 ;;
    esac
    version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/Cargo.toml")"
    tag="v$(echo "$version" | awk -F. '{ printf "%d.%02d.%d", $1, $2, $3 }')"
    name="tinyclaw-$version-linux-$arch.tar.gz"
    found="$cache/releases/$version"
    [ ! -x "$found/tinyclaw" ] || return 0
    { have curl && have sha256sum; } || return 1
    mkdir -p "$cache/releases"
    desk="$(mktemp -d "$cache/releases/.half.XXXXXX")"
    if ! curl --silent --fail --location --proto-redir '=https' --connect-timeout 5 --output "$desk/SHA256SUMS" "$base/download/$tag/SHA256SUMS"; then
        rm -rf "$desk"
        return 1
    fi
    sum="$(awk -v name="$name" '$2 == name { print $1 }' "$desk/SHA256SUMS")"
    if [ -z "$sum" ] || ! may "TinyClaw $version was released at $base. Fetch its programs, rather than compile for a minute or two?"; then
        rm -rf "$desk"
        return 1
    fi
    echo "fetching $base/download/$tag/$name; --build compiles instead"
    if ! curl --silent --show-error --fail --location --proto-redir '=https' --output "$desk/$name" "$base/download/$tag/$name"; then
        rm -rf "$desk"
        fail "the programs of $version cannot be fetched" "./tinyclaw.sh demo --build compiles them"
    fi
    if [ "$(sha256sum "$desk/$name" | cut -d' ' -f1)" != "$sum" ]; then
        rm -rf "$desk"
        fail "$name is not what its sha256 says, and is not used" "./tinyclaw.sh demo --build compiles; when it stays so, report it"
    fi
    mkdir "$desk/programs"
    tar -xzf "$desk/$name" -C "$desk/programs"
    rm -rf "$found"
    mv "$desk/programs" "$found"
    rm -rf "$desk"
}
