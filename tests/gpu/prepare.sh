#!/usr/bin/env bash
# Makes a folder that is carried to a machine with a GPU and run there by its own run.sh: programs, cubins, libraries, recipes.
#
#   tests/gpu/prepare.sh FOLDER
#
# PROFILE (release) is cargo's profile. YARDSTICK=0 leaves out the yardstick, which takes minutes to link, CUBLAS=0 cuBLAS, half a gigabyte.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1/bin" "$1/cuda/lib64" "$1/cache"
folder="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
profile="${PROFILE:-release}"

cargo build --locked --profile "$profile" --bin crossloom
directory="$profile"
[ "$profile" = dev ] && directory=debug
cp "${CARGO_TARGET_DIR:-target}/$directory/crossloom" "$folder/bin/"
cargo build --locked --profile "$profile" --workspace --example phase_speed
cp "${CARGO_TARGET_DIR:-target}/$directory/examples/phase_speed" "$folder/bin/"

# The test programs are the same that run without a GPU; they say where cargo put them.
cargo test --locked --profile "$profile" --workspace --no-run --message-format json \
    --test ops --test device --test driver --test shim --test kernels >"$folder/tests.json"
python3 - "$folder" <<'PYTHON'
import json
import shutil
import sys
from pathlib import Path

folder = Path(sys.argv[1])
for line in (folder / "tests.json").read_text().splitlines():
    message = json.loads(line)
    program = message.get("executable")
    name = message.get("target", {}).get("name")
    # Several crates may have a test of that name.
    crate = {"kernels": "crossloom-tests"}.get(name, "crossloom-cuda#")
    if program and message["profile"]["test"] and crate in message["package_id"]:
        shutil.copy(program, folder / "bin" / name)
(folder / "tests.json").unlink()
PYTHON

export CROSSLOOM_CACHE="${CROSSLOOM_CACHE:-$HOME/.cache/crossloom}"
CROSSLOOM_CUBINS="$folder/cache/cubins" "$folder/bin/kernels" --ignored --exact cubins_to_carry --nocapture
rm "$folder/bin/kernels"
find "$CROSSLOOM_CACHE" -path '*cu13/lib/libnvrtc*' ! -name '*.alt.*' -exec cp -L {} "$folder/cuda/lib64/" \;
if [ "${CUBLAS:-1}" = 1 ]; then
    wheel="$(mktemp -d)"
    python3 -m pip download -q --no-deps -d "$wheel" 'nvidia-cublas>=13.0,<13.1'
    python3 -c 'import glob, sys, zipfile; [zipfile.ZipFile(f).extractall(sys.argv[1]) for f in glob.glob(sys.argv[1] + "/*.whl")]' "$wheel"
    find "$wheel" -name 'libcublas*.so.13' -exec cp {} "$folder/cuda/lib64/" \;
    rm -rf "$wheel"
fi

cp -r recipes "$folder/"
mkdir -p "$folder/peers"
cp tests/peers/model.py "$folder/peers/"
cp tests/gpu/run.sh tests/gpu/run.py tests/gpu/torch_*.py tests/gpu/onevision-*.toml "$folder/"
if [ "${YARDSTICK:-1}" = 1 ]; then
    PROFILE="$profile" tests/gpu/yardstick/link.sh "$folder/linked"
    mv "$folder/linked/yardstick" "$folder/bin/"
    rm -rf "$folder/linked"
fi
du -sh "$folder"
