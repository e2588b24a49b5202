#!/usr/bin/env bash
# Checks the tree of dependencies against deny.toml: licences, bans, sources, known vulnerabilities.
# Installs cargo-deny if it is not there.
#
# The first three need nothing but the crates themselves. The advisories need RustSec's database
# from GitHub: where that cannot be had, the script says so and does not fail for it, unless
# DENY_ADVISORIES=required.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2

if [[ $(cargo deny --version 2>/dev/null) != "cargo-deny $version" ]]; then
  echo "installing cargo-deny $version" >&2
  cargo install cargo-deny --locked --version "$version"
fi

# Of every platform, for licences are read from the crates themselves.
cargo fetch --locked
cargo deny --offline --locked check licenses bans sources

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if cargo deny --locked check advisories >"$log" 2>&1; then
  cat "$log"
  exit 0
fi
cat "$log" >&2
# Only this is forgiven; anything the database says is an error.
if ! grep -q 'failed to fetch advisory database' "$log"; then exit 1; fi
cat >&2 <<'LOUD'

  ***  ADVISORIES WERE NOT CHECKED: RustSec's database could not be fetched (see above).   ***
  ***  Nothing is known about vulnerable, unmaintained or yanked crates in this tree.      ***
  ***  Run scripts/deny.sh where github.com can be reached.                                ***

LOUD
[[ ${DENY_ADVISORIES:-} != required ]] || exit 1
