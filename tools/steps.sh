# shellcheck shell=bash
# Sourced by the other scripts here, from the repository's root: progress, failure, logs, stamps.

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
