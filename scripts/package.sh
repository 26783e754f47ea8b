# The npm package, its tarball and the demo page. Sourced by build.sh.
# shellcheck shell=bash

build_package() {
    [ -f www/pkg/package.json ] || die "www/pkg has no package.json"
    npm --prefix www/pkg run --silent build
    cp README.md LICENSE-MIT LICENSE-APACHE www/pkg/
}

# The demo page takes the package as npm would unpack it, so that it can use nothing that a user could not.
build_demo() {
    [ -f www/demo/package.json ] || die "www/demo has no package.json"
    npm --prefix www/demo run --silent build
    rm -rf www/demo/dist/kinglet
    cp -R "$PACKAGE_DIST" www/demo/dist/kinglet
}

pack_tarball() {
    mkdir -p dist
    npm pack --silent --pack-destination "$PWD/dist" ./www/pkg >/dev/null
    local version
    version=$(node -p "require('./www/pkg/package.json').version")
    note "dist/kinglet-$version.tgz: $(wc -c <"dist/kinglet-$version.tgz") bytes"
}
