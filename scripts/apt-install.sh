#!/usr/bin/env bash
# Installs Debian packages without asking anything; needs root or sudo without a password.
# usage: apt-install.sh PACKAGE…
set -euo pipefail

command -v apt-get >/dev/null || { echo "this system has no apt-get" >&2; exit 1; }
as_root=()
if [[ $(id -u) != 0 ]]; then
  sudo -n true 2>/dev/null || { echo "installing needs root, or sudo without a password" >&2; exit 1; }
  as_root=(sudo -n)
fi
# RUNLEVEL=1: where invoke-rc.d starts services, it leaves those of the new packages alone.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=120)
"${apt[@]}" update </dev/null
"${apt[@]}" install -y --no-install-recommends "$@" </dev/null >/dev/null
