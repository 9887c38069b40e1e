#!/usr/bin/env bash
# Sets up everything that is missing to build Graft, and builds it: Debian packages, build/venv, configure, compile.
#
#   tools/setup.sh [--no-build | TARGET...]      TARGETs of the build instead of all of it
#
# Does nothing twice: installed packages are asked for, the rest leaves stamps that name the content they were made from.
# Needs bash, git and Python 3.11. Logs are in build/log. tools/quickstart.sh and tools/test.sh begin with this.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/steps.sh

packages=(
  # compiler, linker, MLIR
  clang-22 lld-22 liblld-22-dev llvm-22-dev llvm-22-tools libmlir-22-dev mlir-22-tools libclang-rt-22-dev clang-format-22 clang-tidy-22
  # libraries
  libprotozero-dev libflatbuffers-dev flatbuffers-compiler libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libspdlog-dev
  libdnnl2 libdnnl-dev libzstd-dev zlib1g-dev libboost-dev
  # tests
  libgtest-dev libgmock-dev libbenchmark-dev
  # building
  cmake ninja-build ccache python3-venv
)

# The packages of the list that are not installed, one a line.
missing_packages() {
  local installed
  # dpkg-query fails where it has never heard of a package: that one is missing too.
  installed=$({ dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true; } | sed -n 's/ installed$//p')
  comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(sort <<<"$installed")
}

# Those of the arguments that no configured package source offers.
without_candidate() {
  local name
  for name in "$@"; do
    # Not grep -q: it ends at its first match, and pipefail takes apt-cache's broken pipe for a failure.
    apt-cache policy "$name" 2>/dev/null | grep '^  Candidate: [^(]' >/dev/null || echo "$name"
  done
}

install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    fail "this is not a Debian system (no dpkg or apt-get)" "Install the equivalents of: ${packages[*]}"
  fi
  local missing absent root=()
  mapfile -t missing < <(missing_packages)
  [[ ${#missing[@]} -eq 0 ]] && return
  step "installing ${#missing[@]} Debian packages: ${missing[*]}"
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || fail "packages are missing and only root can install them" "As root: apt-get install ${missing[*]}"
    root=(sudo)
  fi
  mapfile -t absent < <(without_candidate "${missing[@]}")
  if [[ ${#absent[@]} -gt 0 ]]; then
    logged packages "${root[@]}" apt-get update || fail "apt-get update did not work" "See build/log/packages.log; check the network and the sources under /etc/apt"
    mapfile -t absent < <(without_candidate "${missing[@]}")
  fi
  [[ ${#absent[@]} -eq 0 ]] ||
    fail "no package source of this machine offers: ${absent[*]}" "Those with 22 in the name come from the LLVM project's Debian repository for this release (branch 22), the rest from Debian 12's main section: add what is missing under /etc/apt/sources.list.d, then run this again"
  logged packages "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get install did not work" "See build/log/packages.log; if the lists are old: apt-get update, then run this again"
}

make_venv() {
  local python wanted
  python=$(command -v python3.11 || command -v python3) || fail "there is no python3" "Install Python 3.11"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than Python 3.11" "Install Python 3.11"
  wanted=$("$python" -c 'import sys; print(sys.version, sys.executable)'; cat tools/requirements.txt)
  fresh build/venv/.stamp "$wanted" && [[ -x build/venv/bin/python ]] && return
  step "making the virtual environment build/venv"
  logged venv "$python" -m venv --clear build/venv || fail "$python -m venv did not work" "See build/log/venv.log"
  logged venv build/venv/bin/pip install --disable-pip-version-check -q -r tools/requirements.txt ||
    fail "pip could not install tools/requirements.txt" "See build/log/venv.log; check that pip reaches a package index"
  stamp build/venv/.stamp "$wanted"
}

install_packages
make_venv
# One preset for users and tests, so that neither builds again what the other has built.
configure ci build
[[ ${1:-} == --no-build ]] || build build "$@"
