#!/usr/bin/env bash
# Makes sure that Node.js and oidc-provider are here: the tests of signing in start it on loopback,
# as the OAuth server that gives out access tokens. It is installed below tests/peers and nowhere
# else, in the versions of its lock file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=$here/../tests/peers

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "Node.js is not here: installing it (apt-get install nodejs npm)"
  if ! "$here/apt-install.sh" nodejs npm; then
    echo "Could not install Node.js. Please install version 18 or later with npm, and run this again" >&2
    exit 1
  fi
fi

# What npm notes of the last install tells whether the lock file has changed since.
installed=$peers/node_modules/.package-lock.json
if [[ ! -e $installed || $peers/package-lock.json -nt $installed ]]; then
  echo "oidc-provider is not here: installing it (npm ci in tests/peers)"
  (cd "$peers" && npm ci --no-audit --no-fund --ignore-scripts </dev/null >/dev/null)
fi
