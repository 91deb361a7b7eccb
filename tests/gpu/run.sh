#!/usr/bin/env bash
# What crossloom does on this machine's GPU: a table, and FOLDER/results.json. Builds nothing; FOLDER is what prepare.sh made.
#
#   tests/gpu/run.sh FOLDER [--minutes 8]
#
# The exit status is 0 if nothing failed, 1 if something did, 3 if there is no device.
set -euo pipefail
command -v python3 >/dev/null || { echo "run.sh needs python3" >&2; exit 2; }
exec python3 "$(dirname "${BASH_SOURCE[0]}")/run.py" "$@"
