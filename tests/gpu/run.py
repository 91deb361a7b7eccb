"""See run.sh. A stage adds lines to the table; a line says what was `measured` or `passed`, what `failed`, and what is `missing`, with why."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_DEVICE = 3


class Table:
    def __init__(self, folder, minutes):
        self.folder, self.lines, self.deadline = folder, [], time.monotonic() + 60 * minutes
        self.context = None
        self.environment = {
            **os.environ,
            "CUDA_HOME": os.environ.get("CUDA_HOME", str(folder / "cuda")),
            "CROSSLOOM_CACHE": str(folder / "cache"),
            "CROSSLOOM_RECIPES": str(folder / "recipes"),
        }

    def add(self, what, state, value="", aim="", why=""):
        self.lines.append({"what": what, "state": state, "value": value, "aim": aim, "why": why})
        print(f"{what:<44} {state:<9} {value:<26} {aim:<26} {why}", flush=True)

    def program(self, name):
        path = self.folder / "bin" / name
        return path if path.is_file() else None

    def call(self, *command, seconds=120, **variables):
        """Exit status, what was written, and how long it took; a program that is too slow is ended and has the status None."""
        left = min(seconds, self.deadline - time.monotonic())
        if left <= 0:
            return None, "no time is left", 0.0
        start = time.monotonic()
        try:
            done = subprocess.run(list(map(str, command)), cwd=self.folder, env={**self.environment, **variables},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=left)
        except subprocess.TimeoutExpired as late:
            told = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
            return None, f"{told}\nended after {left:.0f} s", left
        except OSError as error:
            return 126, f"cannot be started: {error}", 0.0
        return done.returncode, done.stdout, time.monotonic() - start

    def has_failed(self):
        return any(line["state"] == "failed" for line in self.lines)

    def write(self):
        (self.folder / "results.json").write_text(json.dumps({"lines": self.lines}, indent=2) + "\n")


class Watched:
    """The most memory of the first device that is taken while a block runs, beyond what was taken before, in bytes; none if nobody tells."""

    def __enter__(self):
        self.before, self.most, self.done = taken(), None, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while self.before is not None and not self.done.wait(0.2):
            self.most = max(self.most or 0, (taken() or 0) - self.before)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def taken():
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return int(subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def last(text):
    """What a program said last, or what a test said was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [lines[at + 1] for at, line in enumerate(lines[:-1]) if "panicked at" in line]
    return (wrong or lines or ["it said nothing"])[-1 if not wrong else 0][:200]


# ---- what there is ---------------------------------------------------------------------------------------------------


def probe(table):
    """Whether there is a device; what keeps kernels from running is told."""
    crossloom = table.program("crossloom")
    if not crossloom:
        table.add("probe", "failed", why="there is no bin/crossloom: prepare.sh makes it")
        return False
    status, text, _ = table.call(crossloom, "doctor", "--json")
    if status != 0:
        table.add("probe", "failed", why=last(text))
        return False
    cuda = json.loads(text)["cuda"]
    for library in cuda["libraries"]:
        found = library["path"] and not library["missing"]
        value = library["version"] or ""
        why = library["path"] or "not found"
        if library["missing"]:
            why += ", lacks " + ", ".join(library["missing"])
        table.add(f"library {library['name']}", "passed" if found else "missing", value, why=why)
    for device in cuda["driver"]["devices"]:
        major, minor = device["compute_capability"] or (0, 0)
        table.add("device", "passed", f"{device['name']}, {major}.{minor}")
    if not cuda["driver"]["devices"]:
        table.add("device", "failed", why=cuda["driver"]["problem"] or "the driver knows none")
    return bool(cuda["driver"]["devices"])


# ---- right numbers ---------------------------------------------------------------------------------------------------

# What, program, its arguments, and how exact.
PARITY = [
    ("primitives: fragments, shuffles, copies", "shim", ["primitives::"], "the same bits"),
    ("ops, all forms", "ops", ["--skip", "driver::"], "4e-6 of the largest (sums)"),
    ("cuBLASLt, all epilogues", "driver", ["--ignored", "on_a_gpu"], "1e-5, TF32 2e-2"),
    ("sessions: copies, events, graphs", "device", ["sessions::the_device_keeps"], "the suite of devices"),
    ("training step, f32", "device", ["--exact", "steps::a_run_of_steps_descends_as_on_the_cpu"], "1e-3 of the CPU"),
    ("training step, bf16", "device", ["--exact", "steps::a_run_of_steps_in_16_bits_descends_as_on_the_cpu"], "2e-2 of the CPU"),
    ("training step, cuBLASLt", "device", ["steps::a_run_of_steps_with_products"], "1e-3, bf16 2e-2, TF32 1e-2"),
    ("training step of the quickstart", "device", ["--exact", "steps::the_quickstarts_step_is_that_of_the_cpu"], "1e-3 of the CPU"),
]


def parity(table):
    for what, name, arguments, aim in PARITY:
        program = table.program(name)
        if not program:
            table.add(what, "missing", aim=aim, why=f"there is no bin/{name}")
            continue
        status, text, seconds = table.call(program, *arguments, CROSSLOOM_TEST_GPU="1", RUST_BACKTRACE="0")
        ran = sum(int(line.split(" passed")[0].split()[-1]) for line in text.splitlines() if line.startswith("test result"))
        if status == 0 and ran:
            table.add(what, "passed", f"{ran} tests, {seconds:.0f} s", aim)
        else:
            table.add(what, "failed", aim=aim, why=last(text) if status != 0 else "no test ran")


def trained(table, out, *more):
    """Trains a small recipe and says where the run lies."""
    command = [table.program("crossloom"), "run", "recipes/synthetic.toml", "--variant", "cli", "--out", out, *more]
    status, text, _ = table.call(*command)
    runs = sorted((table.folder / out).glob("synthetic-*"))
    return (runs[-1], "") if status == 0 and runs else (None, last(text))


def digest(run):
    """Of all weights that a run left."""
    files = sorted(run.glob("cli/checkpoints/*/*.safetensors"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def answers(run):
    lines = (run / "cli" / "samples.jsonl").read_text().splitlines()
    return [json.loads(line)["answer"] for line in lines]


def whole_runs(table):
    shutil.rmtree(table.folder / "runs", ignore_errors=True)
    few = ["--backend", "cuda", "--set", "train.steps=40"]
    # A run that needs next to nothing shows what a context and its kernels take.
    with Watched() as watched:
        one, why = trained(table, "runs/one", *few)
    table.context = watched.most
    two, _ = trained(table, "runs/two", *few)
    if not one or not two:
        table.add("determinism: 40 steps, twice", "failed", why=why or "the second run failed")
    else:
        same = digest(one) == digest(two) != []
        table.add("determinism: 40 steps, twice", "passed" if same else "failed", aim="the same bits",
                  why="" if same else "weights differ")
    run, why = trained(table, "runs/answers", "--backend", "cpu", "--set", "train.steps=200")
    if not run:
        table.add("answers of one model, CPU and GPU", "failed", why=why)
        return
    ours = answers(run)
    command = [table.program("crossloom"), "eval", "recipes/synthetic.toml", "--variant", "cli", "--out", "runs/answers",
               "--set", "train.steps=200", "--backend", "cuda"]
    status, text, _ = table.call(*command)
    if status != 0:
        table.add("answers of one model, CPU and GPU", "failed", why=last(text))
        return
    same = sum(a == b for a, b in zip(ours, answers(run)))
    close = same >= 0.999 * len(ours)
    table.add("answers of one model, CPU and GPU", "passed" if close else "failed", f"{same} of {len(ours)} the same", "99.9 %")


def sanitizer(table):
    what = "compute-sanitizer, a small recipe"
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if not tool:
        table.add(what, "missing", why="this machine has no compute-sanitizer")
        return
    command = [tool, "--error-exitcode", "9", table.program("crossloom"), "train", "recipes/synthetic.toml", "--variant", "cli",
               "--backend", "cuda", "--out", "runs/sanitizer", "--set", "train.steps=2"]
    status, text, seconds = table.call(*command)
    table.add(what, "passed" if status == 0 else "failed", f"{seconds:.0f} s", "no error", "" if status == 0 else last(text))


# ---- speed -----------------------------------------------------------------------------------------------------------


def torch(table, script, recipe, *arguments):
    """What PyTorch does on this machine at the sizes of a recipe, and why not."""
    resolved = table.folder / f"{recipe}.json"
    if not resolved.is_file():
        status, text, _ = table.call(table.program("crossloom"), "resolve", f"{recipe}.toml", "--json")
        if status != 0:
            return None, last(text)
        resolved.write_text(text)
    status, text, _ = table.call(sys.executable, HERE / script, resolved.name, *arguments)
    return (json.loads(text.splitlines()[-1]), "") if status == 0 else (None, last(text))


def speed(table):
    sizes = ("torch_step.py", "onevision-0.5b")
    eager, no_eager = torch(table, *sizes, "eager", 4, 840, 16)
    compiled, no_compiled = torch(table, *sizes, "compile", 4, 840, 16)
    for how, side, why in (("eager", eager, no_eager), ("torch.compile", compiled, no_compiled)):
        value = f"{1e3 * side['seconds']:.1f} ms" if side else ""
        table.add(f"PyTorch, {how}: step at OneVision-0.5B", "measured" if side else "missing", value, why=why)
    run_step(table, eager, compiled)
    copy = bandwidth(table, eager)
    phases(table, copy)
    yardstick(table)


def run_step(table, eager, compiled):
    what = "training step of CLI at OneVision-0.5B, bf16"
    command = [table.program("crossloom"), "train", "onevision-0.5b.toml", "--backend", "cuda", "--out", "runs/onevision"]
    with Watched() as watched:
        status, text, _ = table.call(*command, seconds=150)
    records = list((table.folder / "runs" / "onevision").glob("*/run.json"))
    if status != 0 or not records:
        table.add(what, "failed", why=last(text))
        return
    variant = next(iter(json.loads(records[0].read_text())["variants"].values()))
    ms = variant["step_ms"]
    for how, side, aim in (("eager", eager, 1.5), ("torch.compile", compiled, 1.0)):
        if side:
            ratio = 1e3 * side["seconds"] / ms
            table.add(f"{what}, to {how}", "measured", f"{ms:.1f} ms, {ratio:.2f} x", f"{aim} x", "" if ratio >= aim else "below the aim")
        else:
            table.add(f"{what}, to {how}", "measured", f"{ms:.1f} ms", f"{aim} x", "there is nothing to compare it with")
    # What lies on the device; pictures and the process itself do not.
    parts = ("weights", "16-bit copies of weights", "optimizer", "activations and gradients", "inputs", "scratch")
    told = sum(variant["bytes"].get(part, 0) for part in parts)
    if watched.most is None or table.context is None:
        table.add("peak memory beside `explain`", "missing", aim="within 5 %", why="nvidia-smi tells nothing")
    else:
        away = (watched.most - table.context) / told - 1
        table.add("peak memory beside `explain`", "measured", f"{told / 2**30:.2f} GiB told, {100 * away:+.1f} %", "within 5 %",
                  "" if abs(away) <= 0.05 else "not within the aim")


def bandwidth(table, eager):
    program = table.program("ops")
    if not program:
        table.add("bandwidth of ops at OneVision-7B", "missing", why="there is no bin/ops")
        return None
    status, text, _ = table.call(program, "--ignored", "--nocapture", "--exact", "driver::speed", CROSSLOOM_TEST_GPU="1")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"what"')]
    if status != 0 or not lines:
        table.add("bandwidth of ops at OneVision-7B", "failed", why=last(text))
        return None
    own = lines[0]["bytes"] / lines[0]["seconds"]
    copy = eager["copy_bytes_per_second"] if eager else own
    table.add("copy", "measured", f"{copy / 1e9:.0f} GB/s", why="PyTorch's" if eager else "by our element-wise kernel, no PyTorch")
    for line in lines[1:]:
        rate = line["bytes"] / line["seconds"]
        share = rate / copy
        table.add(f"{line['what']} at OneVision-7B", "measured", f"{rate / 1e9:.0f} GB/s, {100 * share:.0f} %", "85 % of a copy",
                  "" if share >= 0.85 else "below the aim")
    return copy


def phases(table, copy):
    """Reading a prompt and one token behind it, at 7B."""
    rows = (("prefill", "prefill at 7B, 3,000 tokens", "0.9 x PyTorch, fused"), ("decode", "decode at 7B, batch 1", "80 % of streaming weights"))
    program = table.program("phase_speed")
    why = "" if program else "there is no bin/phase_speed"
    found = {}
    if program:
        status, text, _ = table.call(program, "onevision-7b.toml", "onevision-7b", "cuda", 3000, seconds=150)
        lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"phase"')]
        found = {line["phase"]: line for line in lines}
        why = "" if status == 0 else last(text)
    if why or not all(phase in found for phase, *_ in rows):
        for _, what, aim in rows:
            table.add(what, "failed" if program else "missing", aim=aim, why=why)
        return
    (_, what, aim), (_, of_decode, aim_of_decode) = rows
    ms = 1e3 * found["prefill"]["seconds"]
    peer, no_peer = torch(table, "torch_prefill.py", "onevision-7b", 3000)
    if peer:
        ratio = 1e3 * peer["seconds"] / ms
        table.add(what, "measured", f"{ms:.1f} ms, {ratio:.2f} x", aim, "" if ratio >= 0.9 else "below the aim")
    else:
        table.add(what, "measured", f"{ms:.1f} ms", aim, f"nothing to compare it with: {no_peer}")
    decode = found["decode"]
    rate = decode["weight_bytes"] / decode["seconds"]
    if copy:
        share = rate / copy
        table.add(of_decode, "measured", f"{1e3 * decode['seconds']:.2f} ms, {100 * share:.0f} %", aim_of_decode,
                  "" if share >= 0.8 else "below the aim")
    else:
        table.add(of_decode, "measured", f"{1e3 * decode['seconds']:.2f} ms", aim_of_decode, "the bandwidth of a copy is not known")


def yardstick(table):
    what = "decomposed graph on luminal_cuda"
    program = table.program("yardstick")
    if not program:
        table.add(what, "missing", aim="10 x", why="there is no bin/yardstick")
        return
    libraries = ":".join(filter(None, [f"{table.environment['CUDA_HOME']}/lib64", os.environ.get("LD_LIBRARY_PATH")]))
    command = [program, "recipes/synthetic.toml", "--variant", "cli", "--on", "cuda,luminal-cuda"]
    status, text, _ = table.call(*command, LD_LIBRARY_PATH=libraries)
    start = text.find("{")
    try:
        sides = json.JSONDecoder().raw_decode(text[start:])[0]["backends"] if start >= 0 else {}
    except ValueError:
        sides = {}
    seconds = {name: side.get("median_seconds") for name, side in sides.items()}
    if status != 0 or not all(seconds.get(name) for name in ("cuda", "luminal-cuda")):
        problems = [f"{name}: {side['problem']}" for name, side in sides.items() if side.get("problem")]
        table.add(what, "failed", aim="10 x", why="; ".join(problems) or last(text))
        return
    ratio = seconds["luminal-cuda"] / seconds["cuda"]
    table.add(what, "measured", f"{ratio:.1f} x", "10 x", "" if ratio >= 10 else "below the aim")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what prepare.sh made")
    parser.add_argument("--minutes", type=float, default=7.5, help="when the rest is left out")
    arguments = parser.parse_args()
    table = Table(arguments.folder.resolve(), arguments.minutes)
    has_device = probe(table)
    if has_device:
        for stage in (parity, whole_runs, sanitizer, speed):
            stage(table)
    else:
        for what in [line[0] for line in PARITY] + ["determinism", "answers", "compute-sanitizer", "speed"]:
            table.add(what, "missing", why="not measured: there is no device")
    table.write()
    counts = {state: sum(line["state"] == state for line in table.lines) for state in ("passed", "measured", "failed", "missing")}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return NO_DEVICE if not has_device else 1 if table.has_failed() else 0


sys.exit(main())
