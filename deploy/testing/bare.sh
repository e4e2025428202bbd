#!/bin/sh
# A Debian where nothing was installed before, with a network: the stages that need tools get them by themselves, and so does an
# office its Claude. Rust is there, as everybody has it who comes to a checkout.
set -u
# shellcheck source=deploy/testing/holds.sh
. /in/holds.sh

echo "nothing installed before"
if ! apt-get -qq -o Acquire::Retries=2 update >/tmp/apt 2>&1 || grep -q "^[EW]:" /tmp/apt; then
    echo "  not tried: no Debian mirror can be reached from there"
    : >/out/bare.done
    exit 0
fi
ms sh -c 'cd /src && ./tinyclaw.sh test files shell lock >/tmp/stages 2>&1'
for it in files shell lock; do
    holds "./tinyclaw.sh test $it" grep -q "^ok  *$it " /tmp/stages
done
[ ! -s /out/bare.failures ] || tail -n 25 /tmp/stages
echo "  files, shell and lock took $((ms / 1000)) s, with what they fetched"

echo "claude"
dpkg --install /in/now/*.deb >/tmp/dpkg 2>&1 || cat /tmp/dpkg
pinned="$(sed -n 's/^pinned //p' /usr/lib/tinyclaw/claude.pins)"
holds "without npm it asks where npm's packages are" said "NPM_CONFIG_REGISTRY=" env -u NPM_CONFIG_REGISTRY tinyclaw claude install
if ! curl --silent --fail --max-time 20 --output /dev/null "${NPM_CONFIG_REGISTRY%/}/@anthropic-ai%2fclaude-code/$pinned"; then
    echo "  not tried: npm's packages cannot be reached from there"
    : >/out/bare.done
    exit 0
fi
case "$(uname -m)" in aarch64) platform=linux-arm64 ;; *) platform=linux-x64 ;; esac
place="/tmp/npm/@anthropic-ai/claude-code-$platform/-"
mkdir -p "$place"
echo another >"$place/claude-code-$platform-$pinned.tgz"
holds "one that is not the pinned one is refused" said "nothing is installed" env NPM_CONFIG_REGISTRY=file:///tmp/npm tinyclaw claude install
holds "and nothing is there" [ ! -e /opt/tinyclaw/bin/claude ]
ms holds "tinyclaw claude install" said "claude $pinned is at /opt/tinyclaw/bin/claude" tinyclaw claude install
echo "  took $((ms / 1000)) s"
holds "the office's user can run it" said "$pinned" setpriv --reuid=tinyclaw --regid=tinyclaw --clear-groups env HOME=/var/lib/tinyclaw-home DISABLE_AUTOUPDATER=1 /opt/tinyclaw/bin/claude --version
holds "and may not replace it" fails setpriv --reuid=tinyclaw --regid=tinyclaw --clear-groups sh -c ': >>/opt/tinyclaw/bin/claude'
: >/out/bare.done
