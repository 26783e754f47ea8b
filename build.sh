#!/usr/bin/env bash
# The one door to this repository: sets up what is missing, builds, tests, serves. `./build.sh` prints the verbs.
# Every verb can be run again at any time; what is up to date is not done twice. The parts are in scripts/*.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. scripts/common.sh
. scripts/setup.sh
. scripts/wasm.sh
. scripts/package.sh
. scripts/check.sh
. scripts/fuzz.sh

usage() {
    cat <<'TEXT'
Usage: ./build.sh VERB [ARGUMENTS]

  demo    set up, build, fetch the default model, serve the demo page on http://localhost:8080
          (arguments go to www/demo/serve.mjs: --port N, --no-isolation)
  build   the three WebAssembly binaries and the npm package, in www/pkg/dist and www/demo/dist
  pack    the npm tarball, dist/kinglet-VERSION.tgz
  test    every test: native, TypeScript, WebAssembly in Chromium, GPU (natively and in two browsers), the CPU in three browsers,
          end to end, budgets (./build.sh test native types wasm gpu browsers e2e budgets: only the named parts)
  lint    formatting, clippy (native and wasm32), TypeScript, shell scripts
  bench   decode and prefill speed of the default model in headless Chromium, through the public API
          ([--model FILE] [--threads 1,2] [--prompt 132,512] [--depth 132,2000] [--decode N] [--runs N] [--wasm simd] [--kv TYPE] [--json])
          (--dawn [--model FILE] [--prompt N] [--decode N] [--runs N] [--json]: on the GPU, in Node.js without a browser)
  soak    what takes too long for test: fuzzing, every test on the software GPUs, and a long random use of one engine in Chromium
          (arguments: steps, seed)
  fuzz    the fuzz targets (arguments: targets, seconds for each)

Environment: KINGLET_CACHE (tools and models; default .cache); what is not found by itself: KINGLET_CHROMIUM, CHROMEDRIVER,
KINGLET_FIREFOX, KINGLET_GECKODRIVER, KINGLET_WEBKITDRIVER, KINGLET_MINIBROWSER, KINGLET_SWIFTSHADER and KINGLET_LAVAPIPE (Vulkan
drivers, .json).
TEXT
}

demo() {
    setup_build
    part "default model" ensure_model
    build_all
    say "serving the demo; stop it with Ctrl+C"
    closing_times
    exec node www/demo/serve.mjs --models "$KINGLET_CACHE/models" "$@"
}

build() {
    setup_build
    build_all
}

pack() {
    build
    part "npm tarball" pack_tarball
}

main() {
    local verb=${1:-help}
    shift || true
    case "$verb" in
        demo | build | pack | lint | bench | soak | fuzz) "$verb" "$@" ;;
        test) run_tests "$@" ;;
        help | -h | --help) usage && return ;;
        *) usage >&2 && die "there is no verb '$verb'" ;;
    esac
    closing_times
}

main "$@" </dev/null
