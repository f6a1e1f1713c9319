#!/usr/bin/env bash
# What `make try` shows: a machine of the local cloud, a job, its outputs, and nothing left running.
set -euo pipefail
cd "$(dirname "$0")/.."
gpujob=$PWD/.try/bin/gpujob
export GPUJOB_DRY_RUN=1  # AWS is not contacted, even with credentials

mkdir -p .try/hello
cp docs/hello/train.py .try/hello/
cd .try/hello
git init --quiet  # otherwise the project would be all of gpujob

type_it() {
    printf '\n\033[1m$ gpujob %s\033[0m\n' "$*"
    "$gpujob" "$@"
}

trap '"$gpujob" down hello --force --if-exists > /dev/null 2>&1' EXIT
type_it up
type_it run --down train.py 3
printf '\nThe outputs are in %s/runs. Your own script, in its folder:\n' "$PWD"
printf '  %s up --dry-run\n  %s run --down train.py\n' "$gpujob" "$gpujob"
