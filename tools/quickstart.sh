#!/usr/bin/env bash
# From a fresh clone to a trained model: sets up and builds Graft, fetches SmolLM2-135M-Instruct, compiles examples/smollm2 to a
# training program and takes eight GRPO steps on a CPU. Needs Debian 12, git, Python 3.11, 3 GB of disk space and 6 GB of memory.
#
#   tools/quickstart.sh
#
# Running it again repeats only what its inputs ask for. Everything lands under build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/steps.sh

steps=8
example=examples/smollm2
out=build/quickstart
program=$out/smollm2.graft
run=$out/run

# explain STATUS: what to do after graft ended with this exit code.
explain() {
  case $1 in
  2 | 3) echo "The message above names the file and the place in it; git status tells whether a file under $example was changed" ;;
  4) echo "The step does not fit this machine's memory: lower batch.sequences in $example/recipe.toml" ;;
  5) echo "Check the disk space under $out, then run this again" ;;
  6) echo "It was interrupted: run this again" ;;
  70) echo "This is a defect of Graft: please report it with the reproducer that is named above" ;;
  *) echo "Run this again; if it fails again, please report it with the lines above" ;;
  esac
}

graft() {
  local status=0
  build/bin/graft "$@" || status=$?
  [[ $status -eq 0 ]] || fail "graft $1 ended with exit code $status" "$(explain $status)"
}

compile() {
  local made_from
  made_from=$(identity build/bin/graft $example/recipe.toml $example/model.onnx $example/config.json $out/model/model.safetensors)
  if fresh $program.stamp "$made_from" && [[ -f $program ]]; then
    step "compiled already: $program"
    return
  fi
  step "compiling $example/recipe.toml"
  rm -f $program.stamp
  graft compile $example/recipe.toml -o $program
  stamp $program.stamp "$made_from"
}

train() {
  local made_from
  made_from=$(cat $program.stamp; identity $example/rollouts.jsonl; echo $steps)
  if fresh $run.stamp "$made_from" && [[ -f $run/metrics.jsonl ]]; then
    step "trained already: $run (remove $run.stamp to train again)"
    return
  fi
  step "training $steps steps"
  rm -rf $run.stamp $run
  graft train $program --rollouts $example/rollouts.jsonl --steps $steps --out $run
  stamp $run.stamp "$made_from"
}

# line WHAT PATH: only what is there.
line() { [[ ! -e $2 ]] || printf '  %-18s %s\n' "$1" "$2"; }

tools/setup.sh graft
tools/fetch_smollm2.sh
compile
train
printf '\nDone:\n'
line "report" "$run/report.html"
line "metrics" "$run/metrics.jsonl"
line "trained weights" "$run/checkpoints/step-$steps"
line "program" "$program"
line "recipe" "$example/recipe.toml"
