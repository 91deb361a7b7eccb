#!/usr/bin/env bash
# Builds the yardstick with luminal's backend for GPUs where there is no CUDA, to be carried to where there is: it is linked against
# libraries that have the names and functions of NVIDIA's, and nothing behind them. Where it runs, the loader takes the real ones.
#
#   tests/gpu/yardstick/link.sh FOLDER     FOLDER/yardstick is the program, FOLDER/stubs holds the libraries
#
# CUDA_MAJOR (13) is the version of CUDA whose NVRTC and cuBLAS it will ask for, PROFILE (release) cargo's profile, CC (cc) the C compiler.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
folder="$(cd "$1" && pwd)"
cd "$(dirname "${BASH_SOURCE[0]}")"
project="$(cd ../../.. && pwd)"
target="${CARGO_TARGET_DIR:-$project/target}"
major="${CUDA_MAJOR:-13}" profile="${PROFILE:-release}"

cp "$project/Cargo.lock" Cargo.lock
bindings="$(cargo metadata --format-version 1 --features luminal-cuda | python3 -c '
import json, pathlib, sys
packages = json.load(sys.stdin)["packages"]
print(*(pathlib.Path(p["manifest_path"]).parent / "src" for p in packages if p["name"] == "luminal_cudarc"))')"

# stub NAME SONAME PREFIX FILES: a library with every function of that prefix that the bindings declare. Each fails with 999, the driver's
# word for "unknown".
stub() {
    local name="$1" soname="$2" prefix="$3"
    shift 3
    sed -nE "s/.*\bfn ($prefix[A-Za-z0-9_]+).*/\1/p" "$@" | sort -u | sed 's/.*/int &(void) { return 999; }/' >"$folder/stubs/$name.c"
    [ -s "$folder/stubs/$name.c" ] || { echo "the bindings declare no function of $name" >&2; return 1; }
    "${CC:-cc}" -shared -fPIC -w "-Wl,-soname,$soname" -o "$folder/stubs/lib64/lib$name.so" "$folder/stubs/$name.c"
    ln -sf "lib$name.so" "$folder/stubs/lib64/$soname"
}
mkdir -p "$folder/stubs/lib64" "$folder/stubs/include"
# The bindings' build script asks whether it is there, and does not read it.
touch "$folder/stubs/include/cuda.h"
stub cuda libcuda.so.1 cu "$bindings/driver/sys.rs"
stub nvrtc "libnvrtc.so.$major" nvrtc "$bindings/nvrtc/sys.rs"
stub cublas "libcublas.so.$major" cublas "$bindings"/cublas/*.rs
stub cublasLt "libcublasLt.so.$major" cublasLt "$bindings/cublaslt/sys.rs"
stub curand libcurand.so.10 curand "$bindings/curand/sys.rs"

CUDA_ROOT="$folder/stubs" cargo build --profile "$profile" --features luminal-cuda --target-dir "$target"
[ "$profile" = dev ] && profile=debug
cp "$target/$profile/crossloom-yardstick" "$folder/yardstick"
