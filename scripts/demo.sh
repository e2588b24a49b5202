#!/usr/bin/env bash
# A whole migration in half a minute: two mail servers on loopback, three mailboxes with 3,000
# messages, a day's work in between, the cutover, late mail, and the proof at the end.
# Everything lives in a temporary directory and is gone afterwards.
#
# DROVER=/path/to/drover uses that program instead of building one.
set -euo pipefail
cd "$(dirname "$0")/.."
# Nothing here asks anything; a closed standard input would only confuse the children.
exec </dev/null

if [[ -t 1 ]]; then
  bold=$'\e[1m' blue=$'\e[1;34m' green=$'\e[32m' red=$'\e[1;31m' dim=$'\e[2m' plain=$'\e[0m'
else
  bold='' blue='' green='' red='' dim='' plain=''
fi

n_step=0
step() { n_step=$((n_step + 1)); printf '\n%s%d. %s%s\n' "$blue" "$n_step" "$*" "$plain"; }
say() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
# Shows a command as one would type it, and runs it.
run() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }

# ---- what is needed ---------------------------------------------------------------------------

scripts/need-dovecot.sh
target=${CARGO_TARGET_DIR:-target}
built=(--example demo_mail)
if [[ -z ${DROVER:-} ]]; then built+=(--bin drover); fi
cargo build --release --locked "${built[@]}"
program=$(realpath "${DROVER:-$target/release/drover}")
people=$(realpath "$target/release/examples/demo_mail")
started=$SECONDS

# ---- stage and curtain ------------------------------------------------------------------------

demo=$(mktemp -d "${TMPDIR:-/tmp}/drover-demo.XXXXXX")
daemon='' servers='' watcher=''
curtain() {
  local status=$?
  trap - EXIT
  # 130 and 143: someone stopped it.
  if [[ $status != 0 && $status != 130 && $status != 143 ]]; then
    printf '\n%sthe demo failed%s; the end of drover.log:\n' "$red" "$plain" >&2
    tail -n 25 "$demo/drover.log" >&2 || true
  fi
  if [[ -n $watcher ]]; then kill "$watcher" 2>/dev/null || true; fi
  if [[ -n $daemon ]]; then kill "$daemon" 2>/dev/null && wait "$daemon" || true; fi
  # The servers stop when their input ends, even if this script was killed.
  exec 9>&-
  if [[ -n $servers ]]; then while kill -0 "$servers" 2>/dev/null; do sleep 0.05; done; fi
  rm -rf "$demo"
  exit "$status"
}
trap curtain EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$demo"
drover() { "$program" --config config.toml "$@" 9>&-; }

# True if every mailbox's phase matches the pattern.
phases() {
  local all
  all=$(drover status pilot -o json 2>/dev/null | tr -d ' \n' | grep -o '"phase":"[a-z]*"') || return 1
  ! grep -qvE "\"($1)\"" <<<"$all"
}
# One line a second while something changes, until every mailbox is in one of these phases or so
# many seconds have gone by.
follow() {
  drover status pilot --watch -o json | "$people" follow "$1" "$2" 9>&-
}
# The same on the live screen, if there is a terminal for it.
watch() {
  if [[ ! -t 1 ]]; then follow "$@"; return; fi
  printf '%s$ drover status pilot --watch%s\n' "$bold" "$plain"
  "$program" --config config.toml status pilot --watch 9>&- &
  watcher=$!
  local end=$((SECONDS + $2))
  until ((SECONDS >= end)) || phases "$1"; do
    if ! kill -0 "$daemon" 2>/dev/null; then echo "drover run has ended" >&2; exit 1; fi
    sleep 0.3
  done
  # As Ctrl-C does: it takes its screen with it.
  kill -INT "$watcher" 2>/dev/null && wait "$watcher" || true
  watcher=''
}
# Fails unless every mailbox's phase matches the pattern.
reached() { phases "$1" || { echo "not reached in time: $1" >&2; exit 1; }; }

# ---- 1 ----------------------------------------------------------------------------------------

step 'Two mail servers: an old one, full of mail, and an empty new one'
exec 9> >(exec "$people" serve . >servers.log 2>&1)
servers=$!
until [[ -e servers ]]; do
  if ! kill -0 "$servers" 2>/dev/null; then cat servers.log >&2; exit 1; fi
  sleep 0.1
done
# shellcheck disable=SC1091
. ./servers
say 'anna, bruno and chiyo @old.example: 3,000 messages, 11 folders each, among them “Entwürfe”,'
say '“日本語/受信” and “Projects/Alpha & Beta”. The new server wants “INBOX.Projects.Alpha &- Beta”:'
say 'another separator, another prefix. drover translates.'

# ---- 2 ----------------------------------------------------------------------------------------

step 'The migration, declared'
mkdir -p definitions/secrets
(umask 077 && echo pw >definitions/secrets/everybody)
mv *-ca.pem definitions/
cat >config.toml <<TOML
definitions = "$demo/definitions"
state       = "$demo/state"
socket      = "$demo/drover.sock"
TOML
definition() {
  cat <<TOML
description = "Pilot group"

[source]
platform = "imap"
host = "127.0.0.1"
port = $old_tls_port
ca_file = "old-ca.pem"

[destination]
platform = "imap"
host = "127.0.0.1"
port = $new_tls_port
ca_file = "new-ca.pem"

[sync]
every = "$1"
deletes = "carry"
TOML
  if [[ -n ${2:-} ]]; then echo "rate = \"$2\""; fi
  for who in anna bruno chiyo; do
    cat <<TOML

[[mailboxes]]
source = "$who@old.example"
destination = "$who@new.example"
source_password = { file = "secrets/everybody" }
destination_password = { file = "secrets/everybody" }
TOML
  done
}
# Renamed into place, as a GitOps tool would deliver it.
deliver() { cat >pilot.new && mv pilot.new definitions/pilot.toml; }
definition 1h 1MiB/s | deliver
run head -n 25 definitions/pilot.toml
say '…'
run drover check

# ---- 3 ----------------------------------------------------------------------------------------

step 'The daemon starts, and seeds'
printf '%s$ drover run &%s\n' "$bold" "$plain"
"$program" --config config.toml run >drover.log 2>&1 </dev/null 9>&- &
daemon=$!
until [[ -S drover.sock ]]; do
  if ! kill -0 "$daemon" 2>/dev/null; then echo "drover run has ended" >&2; exit 1; fi
  sleep 0.1
done
watch syncing 5
say 'Office hours are over. One edit lets it run: the line `rate` goes. drover sees the new file,'
say 'stops the passes in good order, and goes on where they were.'
definition 1h | deliver
watch syncing 60
reached syncing
run drover status

# ---- 4 ----------------------------------------------------------------------------------------

step 'Meanwhile people keep working in the old mailboxes'
"$people" work "$old_port" 9>&-
say 'What would the next pass do? (Exit code 2: there are changes.)'
status=0
run drover plan pilot || status=$?
if [[ $status != 2 ]]; then echo "drover plan: expected exit code 2, got $status" >&2; exit 1; fi
say 'The schedule says once an hour; we do not wait.'
run drover sync pilot
run drover verify pilot

# ---- 5 ----------------------------------------------------------------------------------------

step 'Cutover: one edit of the definition'
{
  definition 3s
  printf '\n[cutover]\nat = %s\ntail = "8s"\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
} | tee cutover.toml | deliver
tail -n 3 cutover.toml
say 'The daemon saw it: final passes until nothing is left, then the tail for late mail.'
follow 'draining|complete' 60
reached 'draining|complete'
"$people" late "$old_port" 9>&-
follow complete 60
reached complete

# ---- 6 ----------------------------------------------------------------------------------------

step 'The proof: both sides, message by message, without looking at the ledger'
run drover verify pilot
run drover status pilot
printf '\n%sdone in %d seconds: every message is there once, and everything here is removed again%s\n' \
  "$green" "$((SECONDS - started))" "$plain"
