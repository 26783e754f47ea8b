# Shell helpers that every script here uses: messages, timed parts, stamps. Sourced by build.sh; runs nothing itself.
# shellcheck shell=bash

export KINGLET_CACHE=${KINGLET_CACHE:-$PWD/.cache}
case "$KINGLET_CACHE" in /*) ;; *) KINGLET_CACHE=$PWD/$KINGLET_CACHE ;; esac

TOOLS=$KINGLET_CACHE/tools
export PATH="$TOOLS/bin:$PATH"

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
note() { printf '    %s\n' "$*"; }

# The one clear line when something is missing that cannot be installed from here.
die() {
    printf '\nbuild.sh: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# part NAME COMMAND…: runs a command in a subshell that stops at its first error, and prints its name and how long it took.
# A part that fails ends the script, or with KEEP_GOING=1 is noted in FAILED_PARTS. (Never call it in a condition: bash
# would ignore errors inside.)
PART_TIMES=()
FAILED_PARTS=()
KEEP_GOING=0
part() {
    local name=$1 started=$SECONDS status took mark=''
    shift
    say "$name"
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    took=$((SECONDS - started))
    if [ "$status" != 0 ]; then
        mark='  FAILED'
        FAILED_PARTS+=("$name")
    fi
    PART_TIMES+=("$(printf '%-34s %5d s%s' "$name" "$took" "$mark")")
    note "$name: $took s$mark"
    if [ "$status" != 0 ] && [ "$KEEP_GOING" = 0 ]; then
        closing_times
        exit 1
    fi
}

# at_once COMMANDS…: each argument is a command with its words; they run at the same time, and what each prints follows as one piece.
# Fails if one has.
at_once() {
    local command folder i=0 status=0 pids=()
    folder=$(mktemp -d)
    for command in "$@"; do
        # shellcheck disable=SC2086 # its words
        (
            set -e
            $command
        ) >"$folder/$i" 2>&1 &
        pids+=($!)
        i=$((i + 1))
    done
    for i in "${!pids[@]}"; do
        wait "${pids[i]}" || status=1
        cat "$folder/$i"
    done
    rm -rf "$folder"
    return "$status"
}

# begin COMMAND…: runs it beside what follows, one at a time. `finished` waits for it, prints what it has printed, and fails as it has.
begin() {
    BEGUN=$(mktemp -d)
    set -m # a process group of its own, that the trap can end
    (
        set +e
        (
            set -e
            "$@"
        ) >"$BEGUN/log" 2>&1
        echo $? >"$BEGUN/status"
    ) &
    BEGUN_PID=$!
    set +m
    # A command that fails in the trap, as kill does once all has ended, would become the script's own status.
    trap 'kill -- "-$BEGUN_PID" 2>/dev/null || true; rm -rf "$BEGUN"' EXIT
}
finished() {
    while kill -0 "$BEGUN_PID" 2>/dev/null; do sleep 0.2; done
    cat "$BEGUN/log"
    return "$(cat "$BEGUN/status")"
}

closing_times() {
    if [ "${#PART_TIMES[@]}" = 0 ]; then return; fi
    say "took $SECONDS s"
    printf '    %s\n' "${PART_TIMES[@]}"
    if [ "${#FAILED_PARTS[@]}" != 0 ]; then
        printf '\nbuild.sh: failed: %s\n' "$(printf '%s; ' "${FAILED_PARTS[@]}")" >&2
        exit 1
    fi
}

# is_fresh STAMP FILES…: whether FILES are the same as when `stamp STAMP FILES…` was last called. The stamp holds their hash.
is_fresh() {
    local stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(cat "$@" | sha256sum)" ]
}
stamp() {
    local stamp=$1
    shift
    mkdir -p "$(dirname "$stamp")"
    cat "$@" | sha256sum >"$stamp"
}
