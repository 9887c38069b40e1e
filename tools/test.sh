#!/usr/bin/env bash
# Sets up what is missing, builds with warnings as errors, checks format and lint, and runs every test.
#
#   tools/test.sh [ctest arguments, such as -R recipe]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/steps.sh

tools/setup.sh
tools/fetch_smollm2.sh
step "checking format and lint"
build/venv/bin/python tools/lint.py --seconds 100 || fail "format or lint" "The lines above say what and where"
step "running the tests"
exec ctest --test-dir build -j2 --output-on-failure "$@"
