#!/usr/bin/env bash
# Makes `.cache/tools` (uv) and `.venv` (the locked project environment) on a machine that has python3 and nothing else.
# Quick when both are there. Debian packages are installed only as root on Debian; elsewhere the command is told.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf '%s\n' "$*" >&2; }

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "error: python3 3.11 or newer is needed; on Debian 12 or newer: sudo apt-get install -y python3 python3-venv"
    exit 1
fi
if [ ! -x .cache/tools/bin/uv ]; then
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
            say "installing python3-venv"
            apt-get install -y -qq --no-install-recommends python3-venv >/dev/null 2>&1 || {
                apt-get update -qq >&2
                apt-get install -y -qq --no-install-recommends python3-venv >&2
            }
        else
            say "error: Python's venv module is missing; run: sudo apt-get install -y python3-venv"
            exit 1
        fi
    fi
    say "making .cache/tools (uv)"
    [ -x .cache/tools/bin/pip ] || python3 -m venv --clear .cache/tools
    .cache/tools/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
fi
# The interpreter of the tools' environment: uv would otherwise prefer a newer one of its own.
.cache/tools/bin/uv sync --quiet --frozen --all-extras --python .cache/tools/bin/python
