#!/usr/bin/env bash
# Runs every example of every backend, four at a time: examples/check.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

run() {
    local start=$SECONDS output
    if output=$(timeout 60 "$folder/$1" 2>&1 </dev/null); then
        printf 'ok      %2d s  %s\n' $((SECONDS - start)) "$1"
    else
        printf 'FAILED  %2d s  %s, exit code %d:\n%s\n' $((SECONDS - start)) "$1" $? "$output"
        return 1
    fi
}
export -f run

# With the features of the whole workspace, as the tests have them: nothing is built twice.
cargo build --quiet --workspace --examples
# Two have a feature of their own.
cargo build --quiet --workspace --features pglock-examples/service --example sqlx-service --example diesel-service
export folder=${CARGO_TARGET_DIR:-$PWD/../target}/debug/examples
# sqlx/leader_election.rs is sqlx-leader-election.
printf '%s\n' */*.rs | sed '/^src\//d; /^tests\//d; s/\.rs$//; y/\/_/--/' | xargs -P 4 -I {} bash -c 'run {}'
