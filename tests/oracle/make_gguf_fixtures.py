#!/usr/bin/env python3
"""Writes what the tests of GGUF files and of quantized types compare with.

    pip install torch transformers gguf safetensors
    python tests/oracle/make_gguf_fixtures.py

- `crates/crossloom-ir/tests/quantized/blocks.safetensors`: for every block format some blocks (`NAME.blocks`) and the numbers that
  they stand for (`NAME.numbers`), by the `gguf` package's numpy code.
- `crates/crossloom-weights/tests/gguf/tiny.gguf`: a Llama with random weights in all formats at once.
- `crates/crossloom-weights/tests/gguf/tiny.safetensors`: the same weights as transformers reads them out of that file, with the
  logits that it computes for `ids`.
"""

from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, quants
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = ROOT / "crates/crossloom-ir/tests/quantized"
MODEL = ROOT / "crates/crossloom-weights/tests/gguf"
rng = np.random.default_rng(20261128)

FORMATS = {"q8_0": Type.Q8_0, "q4_0": Type.Q4_0, "q4_1": Type.Q4_1, "q4_k": Type.Q4_K, "q6_k": Type.Q6_K}
# Where the 16-bit factors of a block are, for the formats that the package cannot write.
FACTORS = {"q4_k": (256, 144, [0, 2]), "q6_k": (256, 210, [208])}


def quantized(name: str, rows: int, columns: int) -> np.ndarray:
    """Bytes of a random matrix, a row of bytes to a row of numbers."""
    if name not in FACTORS:
        return quants.quantize(rng.normal(0, 0.05, (rows, columns)).astype(np.float32), FORMATS[name])
    block, size, factors = FACTORS[name]
    count = rows * columns // block
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in factors:
        scale = rng.uniform(0.5, 2.0, count) * (4e-4 if name == "q4_k" else 5e-5)
        data[:, at : at + 2] = scale.astype(np.float16).view(np.uint8).reshape(count, 2)
    return data.reshape(rows, columns // block * size)


def blocks() -> None:
    tensors = {}
    for name, kind in FORMATS.items():
        data = quantized(name, 6, 512)
        # Extremes: all bits set, none, negative and zero factors.
        data[0, : data.shape[1] // 2] = 0
        if name in FACTORS:
            _, size, factors = FACTORS[name]
            rest = np.ones(size, bool)
            for at in factors:
                rest[at : at + 2] = False
                data[2, at : at + 2] = np.array([-0.25], np.float16).view(np.uint8)
            data[1, :size][rest] = 255
        tensors[f"{name}.blocks"] = data
        tensors[f"{name}.numbers"] = quants.dequantize(data, kind).astype(np.float32)
    BLOCKS.mkdir(parents=True, exist_ok=True)
    save_file(tensors, BLOCKS / "blocks.safetensors")


def tiny() -> None:
    hidden, layers, heads, kv_heads, mlp, vocab = 32, 2, 4, 2, 256, 64
    path = MODEL / "tiny.gguf"
    MODEL.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(20000.0)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(vocab)])
    writer.add_token_merges([])

    def plain(name: str, *shape: int, kind=np.float32) -> None:
        values = (rng.normal(0, 0.3, shape) + (1.0 if "norm" in name else 0.0)).astype(np.float32)
        if kind == "bf16":
            writer.add_tensor(name, quants.quantize(values, Type.BF16), raw_dtype=Type.BF16)
        else:
            writer.add_tensor(name, values.astype(kind))

    def packed(name: str, kind: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, quantized(kind, rows, columns), raw_dtype=FORMATS[kind])

    packed("token_embd.weight", "q8_0", vocab, hidden)
    plain("output_norm.weight", hidden)
    for layer, formats in enumerate([("q4_0", "q4_1", "q8_0", "q6_k"), ("q4_1", "q8_0", "q4_0", "q4_k")]):
        at = f"blk.{layer}."
        q, k, gate, down = formats
        plain(at + "attn_norm.weight", hidden)
        plain(at + "ffn_norm.weight", hidden)
        packed(at + "attn_q.weight", q, hidden, hidden)
        packed(at + "attn_k.weight", k, kv_heads * hidden // heads, hidden)
        plain(at + "attn_v.weight", kv_heads * hidden // heads, hidden, kind=np.float16)
        plain(at + "attn_output.weight", hidden, hidden, kind="bf16")
        packed(at + "ffn_gate.weight", gate, mlp, hidden)
        packed(at + "ffn_up.weight", gate, mlp, hidden)
        packed(at + "ffn_down.weight", down, hidden, mlp)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = AutoModelForCausalLM.from_pretrained(MODEL, gguf_file=path.name, dtype=torch.float32).eval()
    ids = torch.tensor(rng.integers(0, vocab, (1, 17)))
    with torch.no_grad():
        logits = model(ids).logits
    tensors = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    tensors["logits"] = logits[0].numpy()
    tensors["ids"] = ids[0].to(torch.int32).numpy()
    save_file(tensors, MODEL / "tiny.safetensors")


if __name__ == "__main__":
    blocks()
    tiny()
