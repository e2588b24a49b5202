#!/usr/bin/env bash
# Runs the fuzz targets for so many seconds each, and fails if one of them finds something.
# Installs cargo-fuzz if it is not there.
# usage: fuzz.sh [SECONDS] [TARGET…]      (`make fuzz`, `make fuzz TIME=600 TARGET=names`)
#
# Without a sanitizer: drover has no unsafe code for it to look into, and builds in half the time.
# What is looked for are panics, overflows, hangs, memory, and what src/fuzzing.rs asserts.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.13.2
seconds=${1:-30}
shift || true

if [[ $(cargo fuzz --version 2>/dev/null) != "cargo-fuzz $version" ]]; then
  echo "installing cargo-fuzz $version" >&2
  cargo install cargo-fuzz --locked --version "$version"
fi

# What is fuzzed has the committed dependencies: cargo-fuzz itself would change a lock file that lags.
if ! cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null; then
  echo "fuzz/Cargo.lock is not up to date: run cargo fetch --manifest-path fuzz/Cargo.toml, and commit it" >&2
  exit 1
fi

host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-fuzz/target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

cargo fuzz build --sanitizer none --target-dir "$target"
targets=("$@")
if ((${#targets[@]} == 0)); then mapfile -t targets < <(cargo fuzz list); fi

found=0
for name in "${targets[@]}"; do
  # What the fuzzer finds on its way is kept beside the build; the committed corpus stays small.
  grown=$target/corpus/$name
  mkdir -p "$grown" "fuzz/artifacts/$name"
  if "$target/$host/release/$name" "$grown" "fuzz/corpus/$name" \
    -artifact_prefix="fuzz/artifacts/$name/" -max_total_time="$seconds" \
    -timeout=10 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1 >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf 'fuzz %-12s %10s executions, nothing found\n' "$name" "${runs:-?}"
  else
    found=1
    tail -n 40 "$log" >&2
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    printf 'fuzz %-12s FOUND SOMETHING: %s\n' "$name" "${input:-see above}"
    printf 'again with: %s %s\n' "$target/$host/release/$name" "$input"
  fi
done
exit "$found"
