# `test`, `lint`, `bench`, `soak`. Sourced by build.sh.
# shellcheck shell=bash

# 1: tests on software GPUs are run in full, as soak does; else what takes long there is thinned.
export KINGLET_LONG=${KINGLET_LONG:-0}

# run_tests [PARTS…]: all parts are run, also after one has failed; what failed is named at the end.
run_tests() {
    local parts=("$@")
    if [ "${#parts[@]}" = 0 ]; then parts=(native types wasm gpu browsers e2e budgets); fi
    setup_build
    setup_test
    if wants gpu || wants browsers; then setup_firefox; fi
    if wants gpu; then setup_gpu; fi
    if wants browsers; then setup_webkit; fi
    KEEP_GOING=1
    if wants native; then part "test: native" test_native; fi
    if wants types || wants browsers || wants e2e || wants budgets; then
        KEEP_GOING=0
        build_all
        part "npm tarball" pack_tarball
        KEEP_GOING=1
    fi
    if wants types; then part "test: TypeScript" test_types; fi
    if wants wasm; then part "test: WebAssembly in Chromium" test_wasm; fi
    if wants gpu; then
        # SwiftShader makes pipelines on one core.
        begin test_gpu_chromium
        part "test: GPU, SwiftShader" test_gpu_native SwiftShader "$KINGLET_SWIFTSHADER" "$(swiftshader_filter)"
        part "test: GPU, lavapipe" test_gpu_native llvmpipe "$KINGLET_LAVAPIPE"
        part "test: GPU, Firefox" test_gpu_firefox
        part "test: GPU, Chromium, the rest" finished
    fi
    if wants browsers; then part "test: three browsers" test_browsers; fi
    if wants e2e; then part "test: end to end" test_e2e; fi
    if wants budgets; then part "test: budgets" node --test tests/budgets.test.mjs tests/glue.test.mjs tests/instructions.test.mjs tests/split.test.mjs; fi
}
# Reads run_tests' `parts`.
wants() {
    local one
    for one in "${parts[@]}"; do [ "$one" = "$1" ] && return 0; done
    return 1
}

# SwiftShader takes ten times as long as lavapipe to make a pipeline, and Chromium has it too. What naga says of the shaders depends on
# no driver; nor does what is left of objects and memory.
swiftshader_filter() {
    if [ "$KINGLET_LONG" = 1 ]; then
        echo '- binary(gpu_shaders)'
    else
        echo '& (binary(gpu_engine) | binary(gpu_cache) | binary(gpu_errors) | binary(gpu_best)) - test(/^nothing_is_left/)'
    fi
}

# Files of tests that need an adapter are named gpu_….
test_native() {
    cargo nextest run --no-fail-fast -E 'not binary(/^gpu_/)'
    cargo test --doc --quiet
}

# test_gpu_native ADAPTER DRIVER [FILTER]: the native tests on a GPU, on that Vulkan driver only; the adapter's name has to hold
# ADAPTER.
test_gpu_native() {
    export VK_DRIVER_FILES=$2 KINGLET_EXPECT_ADAPTER=$1
    quiet_vulkan
    cargo nextest run --no-capture -E 'binary(gpu_adapter)'
    cargo nextest run --no-fail-fast -E "binary(/^gpu_/) - binary(gpu_adapter) ${3:-}"
}

test_types() {
    npm --prefix www/pkg test
    node --test tests/types/types.test.mjs
    node --test www/demo/test/
    node --test tests/docs.test.mjs
}

# Without the tests of the GPU, which are the gpu part's. Each file has a browser of its own, and they follow each other: two halves at
# once.
test_wasm() {
    at_once "test_wasm_half 0" "test_wasm_half 1"
}
test_wasm_half() {
    local file i=0 tests=()
    for file in tests/*.rs; do
        [ "$file" = tests/wasm_gpu.rs ] && continue
        i=$((1 - i))
        [ "$i" = "$1" ] && tests+=(--test "$(basename "$file" .rs)")
    done
    wasm_pack_test Chrome "$CHROMEDRIVER" "${tests[@]}"
}

# Chromium's flags and Firefox's preferences are in webdriver.json.
test_gpu_chromium() {
    quiet_vulkan
    wasm_pack_test Chrome "$CHROMEDRIVER" --test wasm_gpu -- --nocapture
}
test_gpu_firefox() {
    quiet_vulkan
    VK_DRIVER_FILES=$KINGLET_LAVAPIPE GECKODRIVER_ARGS="--binary=$KINGLET_FIREFOX" \
        wasm_pack_test Firefox "$KINGLET_GECKODRIVER" --test wasm_gpu -- --nocapture
}

# wasm_pack_test Chrome|Firefox DRIVER TESTS…: on plain stable without build-std, hence without threads; the thread pool is tested
# end to end. wasm-pack builds with the dev profile and then tests with the test profile: made equal, everything is compiled
# once. It takes the browser whose driver it finds first in the environment, whatever it was asked for.
wasm_pack_test() {
    local browser=$1 driver=$2 log option
    shift 2
    case $browser in Chrome) option=chromedriver ;; *) option=geckodriver ;; esac
    log=$(mktemp)
    CARGO_PROFILE_DEV_OPT_LEVEL=2 WASM_BINDGEN_TEST_TIMEOUT=600 CARGO_TARGET_DIR=target/wasm-test \
        env -u CHROMEDRIVER -u GECKODRIVER \
        wasm-pack test --headless "--${browser,,}" "--$option" "$driver" --mode no-install "$@" 2>&1 | tee "$log"
    grep -q "Running headless tests in $browser" "$log" || die "the tests have not run in $browser (see above)"
    if grep -q 'so skipping' "$log"; then die "wasm-pack has skipped tests (see above)"; fi
    note "$(awk '/^test result: ok/ { n += $4 } END { print n }' "$log") tests have run in $browser"
    rm "$log"
}

# Vulkan's loader complains where there is no such folder, once per device.
quiet_vulkan() { export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}; }

# The CPU path in Chromium, Firefox and WebKitGTK.
test_browsers() {
    KINGLET_MODELS=$KINGLET_CACHE/models node --test --test-timeout=300000 tests/e2e/browsers.test.mjs
}

# Files that hold times of milliseconds have the machine to themselves; the others run two at a time.
TIMED=" demo demo_benchmarks demo_conversations demo_hostile demo_speed demo_tasks encoders gpu package sources threads "
test_e2e() {
    local file name timed=() others=()
    for file in tests/e2e/*.test.mjs; do
        name=$(basename "$file" .test.mjs)
        case "$TIMED" in
            *" $name "*) timed+=("$file") ;;
            *) [ "$name" = browsers ] || others+=("$file") ;;
        esac
    done
    export KINGLET_MODELS=$KINGLET_CACHE/models
    local failed=0
    node --test --test-concurrency=1 --test-timeout=900000 "${timed[@]}" || failed=1
    node --test --test-concurrency=2 --test-timeout=900000 "${others[@]}" || failed=1
    return "$failed"
}

# The TypeScript of the demo page is checked against the built package, so the package is built first.
lint() {
    setup_build
    build_all
    # shellcheck disable=SC2034 # read by part()
    KEEP_GOING=1
    part "lint: rustfmt" cargo fmt --check
    part "lint: rustfmt, fuzz targets" cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
    part "lint: rustfmt, splitter" cargo fmt --check --manifest-path scripts/split/Cargo.toml
    part "lint: clippy, splitter" cargo clippy --quiet --all-targets --manifest-path scripts/split/Cargo.toml --target-dir target/split -- -D warnings
    part "lint: clippy, native" cargo clippy --quiet --all-targets -- -D warnings
    part "lint: clippy, wasm32" cargo clippy --quiet --all-targets --target wasm32-unknown-unknown -- -D warnings
    part "lint: clippy, wasm32, cpu" clippy_of cpu
    part "lint: clippy, wasm32, gpu" clippy_of gpu
    part "lint: TypeScript" lint_types
    part "lint: formatting" scripts/node_modules/.bin/prettier --check --log-level warn www/demo scripts
    part "lint: shell scripts" lint_shell
}

# As the package's binaries are built: with one device each.
clippy_of() {
    cargo clippy --quiet --lib --target wasm32-unknown-unknown --no-default-features --features "$1" -- -D warnings
}

lint_types() {
    www/pkg/node_modules/.bin/tsc -p www/pkg/tsconfig.json --noEmit
    www/pkg/node_modules/.bin/tsc -p www/pkg/tsconfig.node.json
    www/demo/node_modules/.bin/tsc -p www/demo/tsconfig.json --noEmit
}

lint_shell() {
    if has shellcheck; then
        shellcheck -x build.sh scripts/*.sh .ci/run
    else
        bash -n build.sh && note "shellcheck is not installed: only the syntax was checked"
    fi
    node --test tests/scripts.test.mjs
}

# Needs the browser and the model, and what is built.
bench() {
    if [ "${1:-}" = --dawn ]; then
        shift
        bench_dawn "$@"
        return
    fi
    setup_build
    setup_test
    build_all
    part "bench" env KINGLET_MODELS="$KINGLET_CACHE/models" node tests/e2e/bench.mjs "$@"
}

# bench --dawn [--model FILE] [--prompt TOKENS] [--decode TOKENS] [--runs N] [--json]: the package on the GPU in Node.js, on the
# adapter that Vulkan finds (VK_DRIVER_FILES names a driver). Dawn's 130 MB are installed here alone.
bench_dawn() {
    setup_build
    has_vulkan_loader || install_with_apt "the Vulkan loader, libvulkan.so.1" libvulkan1
    part "set-up: Dawn" ensure_npm_packages tests/dawn
    part "default model" ensure_model
    build_all
    quiet_vulkan
    part "bench on Dawn" env KINGLET_MODELS="$KINGLET_CACHE/models" node tests/dawn/bench.mjs "$@"
}

# soak [STEPS] [SEED]
soak() {
    setup_build
    setup_test
    build_all
    fuzz
    setup_gpu
    export KINGLET_LONG=1
    part "soak: GPU, SwiftShader" test_gpu_native SwiftShader "$KINGLET_SWIFTSHADER" "$(swiftshader_filter)"
    part "soak: GPU, Chromium" test_gpu_chromium
    part "soak: end to end" test_e2e
    part "soak" env KINGLET_MODELS="$KINGLET_CACHE/models" node tests/e2e/soak.mjs "$@"
}
