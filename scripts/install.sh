#!/usr/bin/env bash
# Installs a built drover: binary, manual, completions, systemd units, a first configuration.
# usage: install.sh BINARY DESTDIR PREFIX     (`make install` calls it)
set -euo pipefail
binary=$1 destdir=$2 prefix=$3
cd "$(dirname "$0")/.."

# A package installs below /usr and configures below /etc, like everybody under /usr/local.
put() { install -D -m "$1" "$2" "$destdir$3"; }
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

put 755 "$binary" "$prefix/bin/drover"

"$binary" man >"$made/drover.1"
put 644 "$made/drover.1" "$prefix/share/man/man1/drover.1"
for shell in bash zsh fish; do "$binary" completions "$shell" >"$made/$shell"; done
put 644 "$made/bash" "$prefix/share/bash-completion/completions/drover"
put 644 "$made/zsh" "$prefix/share/zsh/site-functions/_drover"
put 644 "$made/fish" "$prefix/share/fish/vendor_completions.d/drover.fish"

sed "s|/usr/bin/drover|$prefix/bin/drover|" systemd/drover.service >"$made/drover.service"
put 644 "$made/drover.service" "$prefix/lib/systemd/system/drover.service"
put 644 systemd/drover.sysusers "$prefix/lib/sysusers.d/drover.conf"
put 644 systemd/drover.tmpfiles "$prefix/lib/tmpfiles.d/drover.conf"

# What the operator wrote stays.
if [[ ! -e $destdir/etc/drover/config.toml ]]; then
  put 640 config.example.toml /etc/drover/config.toml
fi

echo "installed below $destdir$prefix"
if [[ -z $destdir ]]; then
  cat <<'NEXT'
next:
  systemd-sysusers && systemd-tmpfiles --create drover.conf
  systemctl daemon-reload
  drover check && systemctl enable --now drover
NEXT
fi
