#!/usr/bin/env bash
# Brings what `make demo` and, with the word test, `make test` need: npm packages by the lock file (among them the Node
# that runs everything), and Debian packages. Does nothing when it has been done for this lock file.
set -euo pipefail
cd "$(dirname "$0")/.."

# command:package, what the lab and the tests call besides coreutils. The one list of them.
commands=(ip:iproute2 mount:mount nsenter:util-linux setpriv:util-linux unshare:util-linux)
if [ "${1-}" = test ]; then commands+=(bpftool:bpftool nft:nftables); fi

stamp=node_modules/.carom-setup
wanted="$(uname -m) $(cat package-lock.json tools/node/package.json | sha256sum)"

install_npm_packages() {
  if ! command -v npm >/dev/null; then
    echo "setup: npm is missing, run: apt-get install -y nodejs npm" >&2
    exit 1
  fi
  echo "setup: npm packages by package-lock.json" >&2
  rm -f "$stamp"
  # The errors only: an older npm warns that its own Node is too old for a package, which the Node
  # it is about to install is not.
  npm ci --loglevel=error >&2
  # npm 9 does not link the command of a package that a folder (tools/node) depends on.
  local node
  for node in node_modules/node-linux-*/bin/node; do
    ln -sfn "../${node#node_modules/}" node_modules/.bin/node
  done
  if ! node_modules/.bin/node --version >/dev/null; then
    echo "setup: npm ci brought no Node for $(uname -m): it needs x64 or arm64, and optional packages (npm config get omit)" >&2
    exit 1
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

install_debian_packages() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: missing packages, run as root: apt-get install -y $*" >&2
    exit 1
  fi
  echo "setup: Debian packages: $*" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

missing=()
for pair in "${commands[@]}"; do
  # Root's folders too: Debian keeps `ip` where a user's PATH may not look.
  PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ "${#missing[@]}" = 0 ] || install_debian_packages "${missing[@]}"

[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] || install_npm_packages
