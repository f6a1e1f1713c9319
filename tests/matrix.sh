#!/usr/bin/env bash
# What needs neither torch nor a cloud, on each supported Python: make matrix. Each has an environment of its own in .matrix/.
# tests/jobs imports torch; e2e, hostile, local, setup and ssh start machines, so `make test` runs them on one Python only.
set -euo pipefail
cd "$(dirname "$0")/.."
folders=(agent base checks cli ec2 house ledger model project results)
tried='' failed=''

for version in 3.11 3.12 3.13; do
    python=python$version environment=.matrix/$version
    if ! "$python" -c '' 2> /dev/null; then  # with pyenv: PYENV_VERSION=3.11:3.12:3.13 make matrix
        echo "matrix: skipping Python $version: no $python that runs"
        continue
    fi
    echo "matrix: Python $version"
    tried+=" $version"
    test -x "$environment/bin/pip" || "$python" -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --constraint requirements-dev.lock --editable '.[local,setup,test]'
    "$environment/bin/python" -m pytest -q -n 2 -m "not cloud" "${folders[@]/#/tests/}" || failed+=" $version"
done

echo "matrix: tried${tried:- none}; failed${failed:- none}"
[ -n "$tried" ] && [ -z "$failed" ]
