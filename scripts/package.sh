# The npm package, its tarball and the demo page. Sourced by build.sh.
# shellcheck shell=bash

build_package() {
    npm --prefix www/pkg run --silent build
    node scripts/package_readme.mjs >www/pkg/README.md
    cp LICENSE-MIT LICENSE-APACHE www/pkg/
}

# www/demo/build.mjs puts the package beside the page as npm would unpack it, so that the page can use nothing more.
build_demo() {
    npm --prefix www/demo run --silent build
}

pack_tarball() {
    mkdir -p dist
    npm pack --silent --pack-destination "$PWD/dist" ./www/pkg >/dev/null
    local version
    version=$(node -p "require('./www/pkg/package.json').version")
    note "dist/kinglet-$version.tgz: $(wc -c <"dist/kinglet-$version.tgz") bytes"
}
