#!/bin/sh
# A release, made twice: from two folders of other names the programs and the packages must be the same, byte for byte; and what was
# made is installed by its own install.sh from a server on the loopback.
#
#   deploy/testing/release.sh               a quarter of an hour of compiling on two cores, twice
#   deploy/testing/release.sh PACKAGE...    only the programs of these packages are built and compared
#
# Exit codes: 0 all held, 1 something did not, 77 a tool cannot be had (the last line says why).
set -eu

cd "$(dirname "$0")/../.."
run="$(mktemp -d)"
trap 'rm -rf "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}"
export SOURCE_DATE_EPOCH
unset CARGO_TARGET_DIR
for it in one the-other-folder; do
    mkdir "$run/$it"
    { git ls-files --cached --others --exclude-standard 2>/dev/null || find . -type f -not -path './target/*' -not -path './.git/*'; } \
        | tar -cf - -T - 2>/dev/null | tar -C "$run/$it" -xf -
    programs="$(cd "$run/$it" && scripts/static-programs.sh "$@")"
    mkdir "$run/$it.programs"
    find "$programs" -maxdepth 1 -type f -executable -exec cp '{}' "$run/$it.programs/" ';'
    (cd "$run/$it.programs" && sha256sum -- *) >"$run/$it.sums"
    rm -rf "$run/$it/target"
    [ $# -eq 0 ] || continue
    code=0
    (cd "$run/$it" && TINYCLAW_PROGRAMS="$run/$it.programs" scripts/package.sh "$run/$it.out") >"$run/packed" 2>&1 || code=$?
    [ "$code" != 77 ] || { echo "skipped: $(tail -n 1 "$run/packed")"; exit 77; }
    [ "$code" = 0 ] || { cat "$run/packed"; exit 1; }
done
diff "$run/one.sums" "$run/the-other-folder.sums" || { echo "two folders give two programs"; exit 1; }
echo "$(wc -l <"$run/one.sums") programs, the same from two folders"
# Nobody's home, and no folder of this build.
for it in "$run" "$HOME/"; do
    if grep -lF -- "$it" "$run"/one.programs/*; then echo "these have $it in them"; exit 1; fi
done
echo "no path of this machine is in them"
[ $# -eq 0 ] || exit 0
cmp "$run/one.out/SHA256SUMS" "$run/the-other-folder.out/SHA256SUMS"
(cd "$run/one.out" && sha256sum --check --quiet SHA256SUMS && du -h -- *)
echo "deb, rpm and archive, the same from two folders"
deploy/testing/install.sh "$run/one.out"
