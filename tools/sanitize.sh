#!/usr/bin/env bash
# Sets up what is missing, builds with AddressSanitizer and UndefinedBehaviorSanitizer, and runs every test so.
#
#   tools/sanitize.sh [ctest arguments, such as -R recipe]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/steps.sh

tools/setup.sh --no-build
tools/fetch_smollm2.sh
configure sanitize build/sanitize
build build/sanitize
step "running the tests"
exec ctest --test-dir build/sanitize -j2 --output-on-failure "$@"
