#!/usr/bin/env bash
# Makes sure that Dovecot 2.3 with its IMAP server is here: the tests and the demo start their own
# instances of it, on loopback, with everything in temporary directories. No system service is used.
set -euo pipefail
PATH=$PATH:/usr/sbin:/usr/local/sbin

has_dovecot() {
  command -v dovecot >/dev/null || return 1
  # dovecot-core alone has no IMAP.
  for dir in /usr/lib/dovecot /usr/libexec/dovecot /usr/local/libexec/dovecot; do
    [[ -x $dir/imap ]] && return 0
  done
  return 1
}

if ! has_dovecot; then
  echo "Dovecot is not here: installing it (apt-get install dovecot-imapd)"
  if ! "$(dirname "$0")/apt-install.sh" dovecot-imapd || ! has_dovecot; then
    cat >&2 <<'HELP'
Could not install Dovecot. Please install version 2.3 with its IMAP server, and run this again:
  Debian 12, Ubuntu:  sudo apt-get install dovecot-imapd
HELP
    exit 1
  fi
fi

version=$(dovecot --version)
if [[ $version != 2.3.* ]]; then
  echo "drover's tests and demo configure Dovecot 2.3, but this is $version" >&2
  exit 1
fi
