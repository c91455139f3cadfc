#!/usr/bin/env bash
# Runs make targets one after the other and prints how long each took; ends at the first that fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
summary=()
for stage in "$@"; do
    printf '\n==> make %s\n' "$stage"
    started=$SECONDS
    make --no-print-directory "$stage" </dev/null
    code=$?
    summary+=("$(printf '%-12s %5d s  %s' "$stage" $((SECONDS - started)) "$([ $code = 0 ] && echo passed || echo "FAILED ($code)")")")
    [ $code = 0 ] || break
done
printf '\n==> stages\n'
printf '    %s\n' "${summary[@]}"
exit $code
