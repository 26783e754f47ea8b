# `fuzz`, which is also a part of `soak`. Sourced by build.sh.
#
#   tests/fuzz/bodies/   what each target does; tests/fuzz_bodies.rs runs it for a moment in `test`
#   tests/fuzz/corpus/   seeds, and inputs that once went wrong
#   target/fuzz/         the binaries, what the fuzzer found worth keeping, the inputs that failed
# shellcheck shell=bash

CARGO_FUZZ_VERSION=0.13.2
FUZZ_SECONDS=60
# An input that takes longer than this many seconds is a failure: everything is linear in its input.
FUZZ_INPUT_SECONDS=10

# fuzz [TARGET…] [SECONDS]: all targets where none is named, so many seconds each.
fuzz() {
    local names=() seconds=$FUZZ_SECONDS one
    for one in "$@"; do
        case $one in *[!0-9]*) names+=("$one") ;; *) seconds=$one ;; esac
    done
    part "set-up: Rust" ensure_rust
    part "set-up: cargo-fuzz" ensure_cargo_fuzz
    part "set-up: npm packages" ensure_npm_packages www/pkg
    fuzz_targets "$seconds" "${names[@]}"
}

# fuzz_targets SECONDS [TARGET…]
fuzz_targets() {
    local seconds=$1 name
    shift
    if [ $# = 0 ]; then
        # shellcheck disable=SC2046 # names without spaces
        set -- $(fuzz_table | cut -d' ' -f1) template
    fi
    for name in "$@"; do
        [ "$name" = template ] || fuzz_table | grep -q "^$name " || die "there is no fuzz target '$name'"
    done
    # shellcheck disable=SC2034 # read by part()
    KEEP_GOING=1
    for name in "$@"; do
        if [ "$name" = template ]; then
            part "fuzz: template" fuzz_template "$seconds"
        else
            part "fuzz: $name" fuzz_rust "$name" "$seconds"
        fi
    done
}

# Name and longest input of each target in Rust, from the table of the bodies.
fuzz_table() { sed -n 's/.*Target { name: "\(.*\)", run: .*, max_bytes: \([0-9]*\) }.*/\1 \2/p' tests/fuzz/bodies/mod.rs; }

# libFuzzer is C++, compiled by the crate libfuzzer-sys. The engine has no unsafe code on the way of a file, so that an address
# sanitizer would only make everything slower, and tracing comparisons finds little where the seeds have the words: without it
# there are half as many executions again. Debug assertions and checks of overflow are on.
fuzz_rust() {
    local name=$1 seconds=$2 found=target/fuzz/corpus/$1 log=target/fuzz/$1.log status=0
    mkdir -p "$found" target/fuzz/failed
    RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --target-dir "$PWD/target/fuzz" --sanitizer none --no-trace-compares "$name" \
        "$PWD/$found" "$PWD/tests/fuzz/corpus/$name" -- "-max_total_time=$seconds" "-timeout=$FUZZ_INPUT_SECONDS" \
        "-max_len=$(fuzz_table | sed -n "s/^$name //p")" "-artifact_prefix=$PWD/target/fuzz/failed/$name-" \
        -print_final_stats=1 -verbosity=0 >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
        tail -n 40 "$log"
        die "$name failed: the input is in target/fuzz/failed, everything that was said in $log"
    fi
    note "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
        "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log") per second"
}

# Templates are rendered in Node.js, by workers as in a page.
fuzz_template() {
    npm --prefix www/pkg run --silent build -- test
    node tests/fuzz/template.mjs "$1"
}

ensure_cargo_fuzz() {
    has c++ || install_with_apt "a C++ compiler (c++)" g++
    has cargo-fuzz || cargo_install cargo-fuzz "$CARGO_FUZZ_VERSION" --debug --locked
    note "$(cargo-fuzz --version)"
}
