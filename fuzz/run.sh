#!/bin/sh
# Runs every fuzz target for SECONDS (default 300), one after the other, and prints executions and
# coverage (edges, features) of each. New finds go to fuzz/found/TARGET, crashes to fuzz/artifacts.
# Needs the nightly toolchain and cargo-fuzz.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-300}
targets=$(cargo +nightly fuzz list)

status=0
for target in $targets; do
    cargo +nightly fuzz build "$target"
    mkdir -p "fuzz/found/$target"
    dictionary=
    [ -f "fuzz/dictionaries/$target" ] && dictionary="-dict=fuzz/dictionaries/$target"
    length=2000
    [ "$target" = frame_codec ] && length=24000
    log=fuzz/found/$target.log
    # No input may make us take 64 MiB at once: sizes are believed when octets have come.
    cargo +nightly fuzz run "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=$length -len_control=20 -timeout=10 \
        -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 $dictionary \
        >"$log" 2>&1 || { status=1; tail -40 "$log" >&2; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)
    echo "$target: ${executions:-?} executions in $seconds s, ${coverage:-no coverage}"
done
exit $status
