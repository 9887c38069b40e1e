# shellcheck shell=bash
# Sourced by the other scripts here, from the repository's root: progress, failure, logs, stamps, building.

mkdir -p build/log

# A line of progress.
step() { printf '== %s\n' "$*"; }

# fail WHAT TODO: ends the script.
fail() {
  printf '\nerror: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}

# logged NAME COMMAND...: output goes to build/log/NAME.log; its end is shown when the command fails.
logged() {
  local name=$1
  shift
  printf '$ %s\n' "$*" >>"build/log/$name.log"
  "$@" >>"build/log/$name.log" 2>&1 || {
    local status=$?
    tail -n 15 "build/log/$name.log" >&2
    return $status
  }
}

# fresh FILE CONTENT: was the stamp made from this content? stamp FILE CONTENT: makes it.
digest() { sha256sum <<<"$1" | cut -d' ' -f1; }
fresh() { [[ -f $1 && $(<"$1") == "$(digest "$2")" ]]; }
stamp() { digest "$2" >"$1"; }

# A line per file with its sha256; large ones are known by size and time of change instead.
identity() {
  local file
  for file in "$@"; do
    if [[ $(stat -c %s "$file") -gt 67108864 ]]; then
      stat -c '%n %s %y' "$file"
    else
      sha256sum "$file"
    fi
  done
}

# configure PRESET FOLDER: again only when the presets or the compiler changed.
configure() {
  local wanted
  wanted=$(cat CMakePresets.json; clang++-22 --version)
  fresh "$2/.configured" "$wanted" && [[ -f $2/build.ninja ]] && return
  step "configuring $2"
  rm -f "$2/CMakeCache.txt"
  logged configure cmake --preset "$1" || fail "cmake could not configure" "See build/log/configure.log"
  stamp "$2/.configured" "$wanted"
}

# At most as many compilers as processors, and as the memory holds at 2 GiB each.
jobs() {
  local processors memory
  processors=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 2097152)}' /proc/meminfo)
  echo $((memory < 1 ? 1 : memory < processors ? memory : processors))
}

# build FOLDER [TARGET...]: Ninja's own display on a terminal; elsewhere every fiftieth line and whatever is not progress.
build() {
  local folder=$1 status=0 begin=$SECONDS
  shift
  step "building${*:+: $*}"
  if [[ -t 1 ]]; then
    ninja -C "$folder" -j "$(jobs)" "$@" || status=$?
  else
    ninja -C "$folder" -j "$(jobs)" "$@" 2>&1 | tee build/log/build.log |
      awk '/^\[[0-9]+\/[0-9]+\]/ { if (++n % 50 && !/FAILED/) next } /^ninja: (Entering|no work)/ { next } { print; fflush() }' || status=$?
  fi
  [[ $status -eq 0 ]] || fail "the build failed" "The first error above is the cause; ninja -C $folder shows it again"
  step "built in $((SECONDS - begin)) s"
}
