"""Many clients at once, or requests of any kind, against `crossloom serve` over a real model.

    python tests/peers/serve_load.py clients [RUN_FOLDER VARIANT] [--seconds 60]
    python tests/peers/serve_load.py fuzz [RUN_FOLDER VARIANT] [--cases 100000]

Without a run a small model is trained first. `clients`: 64 clients ask with and without a picture, for 1 to 40 tokens, streamed or
not; a quarter of them leaves in the middle, a tenth is wrong. Only documented statuses may come, whole answers must be whole, and the
process may not grow between the first quarter and the end. `fuzz`: whole requests with values of other kinds in any place, then with
bytes changed: no 5xx, and a reason with every refusal. Needs Pillow and a program that is built (`cargo build --release`).
"""

import argparse
import base64
import collections
import contextlib
import copy
import http.client
import io
import json
import random
import re
import signal
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

from PIL import Image

from served import Served, program

CLIENTS = 64
GROWTH = 64 << 20
DOCUMENTED = {"200", "400", "429", "left"}


@contextlib.contextmanager
def asked(run, variant):
    """Name, host and process of a server: of a run, or of a small model that is trained."""
    if run is None:
        with Served(program()) as served:
            yield served.name, urllib.parse.urlparse(served.url).netloc, served.process
        return
    command = [program(), "serve", run, "--variant", variant, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    name, url = re.fullmatch(r"(\S+) at (http://\S+)\n", process.stdout.readline()).groups()
    yield name, urllib.parse.urlparse(url).netloc, process
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, "the server did not end by itself"


def resident(process):
    """Bytes of memory that a process has in use."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def picture(width, height, shade):
    """A picture as a data URL."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 40, 255 - shade)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def question(name, shown, **fields):
    """A conversation of one question about some pictures."""
    parts = [{"type": "text", "text": "what color is the shape?"}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in shown]
    return {"model": name, "messages": [{"role": "user", "content": parts}], **fields}


def send(host, body, path="/v1/chat/completions"):
    """A connection whose request was sent, and the response's head."""
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request("POST", path, body, {"content-type": "application/json"})
    return connection, connection.getresponse()


def client(name, host, seed, over, seen, lock):
    """Asks again and again until it is over."""
    chance = random.Random(seed)
    while not over.is_set():
        shown = [picture(chance.randint(1, 90), chance.randint(1, 90), chance.randint(0, 255))]
        stream = chance.random() < 0.5
        body = question(name, shown, stream=stream, max_tokens=chance.randint(1, 40))
        wrong = chance.random() < 0.1
        if wrong:
            body["messages"][0]["role"] = "nobody"
        connection, response = send(host, json.dumps(body))
        if response.status == 200 and chance.random() < 0.25:
            response.read(1)
            outcome = "left"
        else:
            text = response.read()
            outcome = str(response.status)
            whole = response.status != 200 or (text.endswith(b"data: [DONE]\n\n") if stream else json.loads(text))
            if not whole or (response.status == 400) != wrong and response.status != 429:
                outcome = f"{response.status}: {text[:300]}"
        connection.close()
        with lock:
            seen[outcome] += 1


def clients(name, host, process, seconds):
    """64 clients for a while."""
    over, seen, lock = threading.Event(), collections.Counter(), threading.Lock()
    threads = [
        threading.Thread(target=client, args=(name, host, seed, over, seen, lock)) for seed in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 4)
    early = resident(process)
    time.sleep(seconds * 3 / 4)
    over.set()
    for thread in threads:
        thread.join()
    late = resident(process)
    print(f"{CLIENTS} clients, {seconds} s: {dict(seen)}; {early / 1e6:.1f} MB after a quarter, {late / 1e6:.1f} MB at the end")
    assert set(seen) <= DOCUMENTED, "something that is not documented"
    assert seen["200"] > 0 and seen["left"] > 0 and seen["400"] > 0
    assert late < early + GROWTH, "memory grows"


STRANGE = [None, True, -1, 0, 1.5, 1e308, -1e308, 2**63, "", "a" * 3000, "text", "image_url", "system", "\0\ufffd😀", "<image>"]
STRANGE += ["{{ messages }}", "https://example.org/a.png", "data:,", "data:image/png;base64,iVBORw0KGgo=", [], {}, [[]], {"a": {}}]


def places(value, at=()):
    """Every place in a value."""
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*at, key))


def mutated(whole, chance):
    """The bytes of a request after some of its values, and some of its bytes, were changed."""
    body = json.loads(json.dumps(whole))
    for _ in range(chance.randint(0, 3)):
        *way, last = chance.choice(list(places(body))[1:] or [("model",)])
        parent = body
        for key in way:
            parent = parent[key]
        parent[last] = copy.deepcopy(chance.choice(STRANGE))
    data = bytearray(json.dumps(body).encode())
    if chance.random() < 0.3:
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) or 1)
            kind = chance.randrange(3)
            if kind == 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 1:
                del data[at : at + chance.randint(1, 9)]
            else:
                data[at:at] = data[at : at + 20]
    return bytes(data)


def fuzz(name, host, process, cases):
    """Requests of any kind, by 8 clients."""
    url = picture(9, 7, 80)
    fields = {"n": 2, "max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "seed": 1, "stop": ["a", "b"]}
    fields |= {"logprobs": True, "top_logprobs": 2, "repetition_penalty": 1.1, "presence_penalty": 0.1, "frequency_penalty": 0.1}
    chat, completion = "/v1/chat/completions", "/v1/completions"
    whole = [
        (chat, question(name, [url], **fields)),
        (chat, question(name, [url], max_tokens=1, stream=True, stream_options={"include_usage": True})),
        (completion, {"model": name, "prompt": "a b c", "max_tokens": 2, "logprobs": 2, "stream": False}),
    ]
    seen, lock = collections.Counter(), threading.Lock()

    def ask(seed):
        chance = random.Random(seed)
        for _ in range(cases // 8):
            path, body = chance.choice(whole)
            connection, response = send(host, mutated(body, chance), path)
            text = response.read()
            connection.close()
            told = response.status == 200 or json.loads(text)["error"]["message"]
            with lock:
                seen[str(response.status) if told else f"{response.status} without a reason"] += 1

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{sum(seen.values())} requests: {dict(seen)}; {resident(process) / 1e6:.1f} MB")
    assert sum(seen.values()) == cases // 8 * 8, "a client failed"
    assert all(status in {"200", "400", "404", "429"} for status in seen)


def main():
    """See the module's documentation."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["clients", "fuzz"])
    parser.add_argument("run", nargs="?")
    parser.add_argument("variant", nargs="?")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--cases", type=int, default=100_000)
    given = parser.parse_args()
    with asked(given.run, given.variant) as (name, host, process):
        if given.what == "clients":
            clients(name, host, process, given.seconds)
        else:
            fuzz(name, host, process, given.cases)


if __name__ == "__main__":
    main()
