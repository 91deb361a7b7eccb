"""One side of a comparison of training steps: a process of its own that prints what it measured as JSON."""

import json
import os
import resource
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2


def peak_rss():
    """The most memory that this process had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def built():
    """The example of crossloom that profiles a step, built."""
    build = ["cargo", "build", "-q", "--release", "--workspace", "--example", "step_profile"]
    subprocess.run(build, cwd=ROOT, check=True)
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "examples" / "step_profile"


def measured(*command):
    """What a process prints in its last line."""
    env = {**os.environ, "RAYON_NUM_THREADS": str(THREADS)}
    out = subprocess.run(list(map(str, command)), cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])
