#!/bin/sh
# Installs the pinned packages into .venv, and makes the stubs.
set -eu
cd "$(dirname "$0")"
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
./generate.sh
