#!/usr/bin/env bash
# Gives each reader of foreign files random changes of good and bad ones, under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tools/fuzz.sh [SECONDS]      for each of the four readers; 60
#
# What a run finds new is kept in build/fuzz/corpus and is where the next one begins; an input that crashes is kept in build/fuzz/crashes
# and tried first by the next run. One line per reader; exit 1: one of them crashed, hung or took too much memory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/steps.sh

readers=(onnx safetensors rollouts program)
out=build/fuzz
options=(-rss_limit_mb=2048 -timeout=10)

# The inputs to begin with, from test/data and test/bad_inputs.
seeds() {
  local made_from
  made_from=$(cat test/fuzz/seeds.py test/bad_inputs/*.py runtime/program/Program.fbs)
  fresh $out/seeds.stamp "$made_from" && return
  step "writing the first inputs"
  rm -rf $out/seeds $out/seeds.stamp
  $out/test/bin/write_sample accumulate $out/accumulate.graft
  $out/test/bin/write_sample step $out/step.graft
  logged seeds build/venv/bin/python test/fuzz/seeds.py $out/seeds $out/accumulate.graft $out/step.graft || fail "test/fuzz/seeds.py did not work" "See build/log/seeds.log"
  stamp $out/seeds.stamp "$made_from"
}

# fuzz READER: false if it crashed. The fuzzer's log ends with its statistics.
fuzz() {
  local program=$out/test/fuzz/$1_fuzzer log=build/log/fuzz-$1.log crashes=$out/crashes/$1 result=ok status=0
  local corpus=$out/corpus/$1
  mkdir -p "$corpus" "$crashes"
  "$program" "${options[@]}" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$crashes/" \
    "$corpus" "$crashes" "$out/seeds/$1" >"$log" 2>&1 || status=$?
  [[ $status -eq 0 ]] || result="failed: $(grep -m 1 -oP '(?<=SUMMARY: ).*' "$log" || echo "exit code $status")"
  printf '%-12s %9s runs, %6s edges covered, %5s inputs kept: %s\n' "$1" \
    "$(grep -oP 'stat::number_of_executed_units: \K.*' "$log" || echo 0)" "$(grep -oP ' cov: \K[0-9]+' "$log" | tail -n 1)" \
    "$(find "$corpus" -type f | wc -l)" "$result"
  [[ $status -eq 0 ]] && return
  local input
  input=$(grep -oP 'Test unit written to \K.*' "$log" | tail -n 1)
  [[ -z $input ]] || printf '  to see it again: %s %s %s\n' "$program" "${options[*]}" "$input"
  printf '  whole log: %s\n' "$log"
  return 1
}

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "'$seconds' is no number of seconds" "For example: tools/fuzz.sh 60"
tools/setup.sh --no-build
configure fuzz $out
build $out "${readers[@]/%/_fuzzer}" write_sample
seeds
step "fuzzing, $seconds s each"
failed=0
for reader in "${readers[@]}"; do
  fuzz "$reader" || failed=1
done
exit $failed
