# The three WebAssembly binaries and the JavaScript glue for each kind: `simd` and `relaxed` compute on the CPU, `gpu` on WebGPU.
# A page loads the one that it runs, so none carries what only another needs. Those of the CPU have shared memory; where a GPU computes
# there is one thread. Sourced by build.sh.
#
#   cargo (-Zbuild-std) → wasm-bindgen --target web → short_names.mjs → wasm-opt → split → www/pkg/dist/kinglet_FLAVOUR.wasm, …_later.wasm
#                                                                            └→ glue → www/pkg/src/generated/kinglet_cpu.js (the same for both), kinglet_gpu.js
# shellcheck shell=bash

GENERATED=www/pkg/src/generated
PACKAGE_DIST=www/pkg/dist

build_all() {
    part "wasm: splitter" cargo build --quiet --release --manifest-path scripts/split/Cargo.toml --target-dir target/split
    part "wasm: simd" build_wasm simd cpu 3 +atomics,+bulk-memory,+simd128
    part "wasm: gpu" build_wasm gpu gpu '"s"' +bulk-memory,+simd128
    part "wasm: relaxed" build_wasm relaxed cpu 3 +atomics,+bulk-memory,+simd128,+relaxed-simd
    part "glue" install_glue
    part "npm package" build_package
    part "demo page" build_demo
}

# build_wasm FLAVOUR FEATURE OPT_LEVEL TARGET_FEATURES. Each flavour has a target directory of its own, so that no build undoes another.
build_wasm() {
    local flavour=$1 feature=$2 opt_level=$3 features=$4 target=target/wasm-$1 out=target/bindgen/$1
    local raw=$target/wasm32-unknown-unknown/release/kinglet.wasm stamp=target/bindgen/$1.stamp
    # Inlining of what is not marked makes code large and not faster: what has to be inlined says inline(always). On the GPU's side that
    # goes for what is marked with a hint, too (#[inline], as most of std).
    # Loops are unrolled a little less far than LLVM would (300), as far as no kernel is slower for it: below 250 those for Q4_K and Q5_K are.
    local tuning="-Cllvm-args=-inline-threshold=25 -Cllvm-args=-inlinehint-threshold=100 -Cllvm-args=-unroll-threshold=260"
    [ "$feature" = cpu ] || tuning="-Cllvm-args=-inline-threshold=5 -Cllvm-args=-inlinehint-threshold=25"
    # A panic names its file; what it says, and the functions of its stack, tell the line. Lines would be 3 KB.
    local flags="-Ctarget-feature=$features $tuning -Zlocation-detail=file -Clink-arg=--import-memory -Clink-arg=--max-memory=4294967296"
    # Derived Debug writes a name alone; no message of the engine has more of it, and no code reads it. Fields would be 3 KB.
    flags+=" -Zfmt-debug=shallow"
    # What a panic says names no folder of the machine that the package was made on.
    flags+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/= --remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src/rust/=rust/"
    # With threads: since rust-lang/rust#147225 the atomics feature alone does not make the memory shared; wasm-bindgen needs the
    # exported symbols to give every thread its stack and thread-locals.
    local symbol
    if [ "$feature" = cpu ]; then
        flags+=" -Clink-arg=--shared-memory"
        for symbol in __wasm_init_tls __tls_size __tls_align __tls_base __heap_base; do
            flags+=" -Clink-arg=--export=$symbol"
        done
    fi
    # optimize_for_size: std's fast sorts alone, one copy per type, were 100 kB; nothing that has to be fast sorts.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" cargo build --lib --release --target wasm32-unknown-unknown \
        --no-default-features --features "$feature" --config "profile.release.package.kinglet.opt-level=$opt_level" \
        --target-dir "$target" -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
    if is_fresh "$stamp" "$raw" scripts/wasm.sh scripts/short_names.mjs Cargo.lock && [ -f "$out/optimized.wasm" ]; then
        note "$flavour: unchanged"
    else
        rm -rf "$out"
        wasm-bindgen --target web --omit-default-module-path --out-dir "$out" --out-name "kinglet_$feature" "$raw"
        node scripts/short_names.mjs "$out/kinglet_${feature}_bg.wasm" "$out/kinglet_$feature.js"
        optimize "$feature" "$features" "$out/kinglet_${feature}_bg.wasm" "$out/optimized.wasm" "$out/functions.txt"
        stamp "$stamp" "$raw" scripts/wasm.sh scripts/short_names.mjs Cargo.lock
    fi
    target/split/release/split "$out/optimized.wasm" "$out/functions.txt" "scripts/split/later/$flavour.txt" "$out/first.wasm" "$out/later.wasm"
    mkdir -p "$PACKAGE_DIST"
    install_wasm "$out/first.wasm" "kinglet_$flavour.wasm"
    install_wasm "$out/later.wasm" "kinglet_${flavour}_later.wasm"
}

install_wasm() {
    copy_if_changed "$1" "$PACKAGE_DIST/$2"
    note "$2: $(wc -c <"$1") bytes, $(gzip -9 -c "$1" | wc -c) gzip"
}

# optimize FEATURE TARGET_FEATURES IN OUT NAMES. What is not to be inlined is what LLVM was told not to inline, for it is fast by itself
# and tests/instructions.test.mjs looks for it; NAMES are the functions of OUT by their places, for that test. In the order of their
# names, functions stand beside those like them: 2 % less (gzip).
optimize() {
    local relaxed=() level=(-O3)
    [ "$1" = cpu ] || level=(-Os)
    # Functions that are called once are inlined too, if they are small: the others stand beside their like.
    level+=(--one-caller-inline-max-function-size=200)
    # Nothing is at addresses below 1024: the stack is at the bottom of the memory (rustc links with --stack-first), data follow.
    level+=(--low-memory-unused)
    case $2 in *relaxed-simd*) relaxed=(--enable-relaxed-simd) ;; esac
    scripts/node_modules/.bin/wasm-opt --no-inline='*cpu::matmul::*_row*' --no-inline='*cpu::codes::rows_*' --no-inline='*cpu::tiles::Tile*' "${level[@]}" --reorder-functions-by-name \
        --symbolmap="$5" --enable-threads --enable-bulk-memory --enable-bulk-memory-opt --enable-simd "${relaxed[@]}" \
        --enable-mutable-globals --enable-nontrapping-float-to-int --enable-sign-ext --enable-reference-types \
        --enable-multivalue --strip-debug --strip-producers "$3" -o "$4"
}

# One set of JavaScript serves both binaries of the CPU; that holds only while wasm-bindgen writes the same text for both.
install_glue() {
    local kind file
    mkdir -p "$GENERATED"
    for file in kinglet_cpu.js kinglet_cpu.d.ts; do
        cmp "target/bindgen/simd/$file" "target/bindgen/relaxed/$file" \
            || die "wasm-bindgen's $file differs between the simd and the relaxed build: they cannot share one glue"
    done
    for kind in cpu gpu; do
        for file in "kinglet_$kind.js" "kinglet_$kind.d.ts"; do
            copy_if_changed "target/bindgen/${kind/cpu/simd}/$file" "$GENERATED/$file"
        done
        note "$GENERATED/kinglet_$kind.js: $(wc -c <"$GENERATED/kinglet_$kind.js") bytes"
    done
}

copy_if_changed() { cmp -s "$1" "$2" || cp "$1" "$2"; }
