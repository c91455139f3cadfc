#!/usr/bin/env bash
# Runs make targets one after the other and prints how long each took; ends at the first that fails.
# Targets joined by + run at once: what the first prints is seen at once, what the others print when all have ended.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
logs=.cache/stages
mkdir -p "$logs"
# An interrupted run leaves nothing behind that still runs: background jobs do not hear of Ctrl-C.
trap 'trap - INT TERM; kill 0; exit 130' INT TERM

# Runs one target and leaves its line of the summary beside its log.
run() {
    local started=$SECONDS code
    make --no-print-directory "$1" </dev/null
    code=$?
    printf '%-12s %5d s  %s\n' "$1" $((SECONDS - started)) "$([ $code = 0 ] && echo passed || echo "FAILED ($code)")" >"$logs/$1.summary"
    return $code
}

summary=()
for stage in "$@"; do
    IFS=+ read -ra targets <<<"$stage"
    printf '\n==> make %s\n' "${targets[*]}"
    pids=()
    for target in "${targets[@]:1}"; do
        run "$target" >"$logs/$target.log" 2>&1 &
        pids+=($!)
    done
    run "${targets[0]}"
    code=$?
    for pid in "${pids[@]}"; do
        wait "$pid" || code=$?
    done
    for target in "${targets[@]:1}"; do
        printf '\n==> make %s\n' "$target"
        cat "$logs/$target.log"
    done
    for target in "${targets[@]}"; do
        summary+=("$(cat "$logs/$target.summary")")
    done
    [ $code = 0 ] || break
done
printf '\n==> stages\n'
printf '    %s\n' "${summary[@]}"
exit $code
