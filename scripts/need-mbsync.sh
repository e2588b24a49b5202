#!/usr/bin/env bash
# Makes sure that mbsync (isync) is here: `make bench` measures drover against it.
set -euo pipefail

command -v mbsync >/dev/null && exit 0
echo "mbsync is not here: installing it (apt-get install isync)"
if ! "$(dirname "$0")/apt-install.sh" isync || ! command -v mbsync >/dev/null; then
  echo "Could not install mbsync. Please install it (Debian, Ubuntu: sudo apt-get install isync)" >&2
  exit 1
fi
