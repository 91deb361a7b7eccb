"""Log-probabilities of a text by `/v1/completions` are those that transformers computes of the language model alone.

    pip install torch transformers==5.24.0 gguf
    cargo build --release && python tests/peers/perplexity.py RUN VARIANT FILE.gguf

RUN is a run over a pretrained language model that it keeps frozen, and whose prompts may be words alone (`crossloom run recipes/smol/smol.toml`, variant
`projector_last`); the file has the weights of that model. Texts are asked for as evaluation harnesses do, as lists of tokens with `echo`, and the sum of
their log-probabilities is held against transformers', computed in f32 from the same weights; a run may compute in bf16, so tokens are only near on the average.
"""

import json
import sys
import urllib.request
from pathlib import Path

# Beside this script, not a package of that name.
sys.path.append(sys.path.pop(0))

import torch  # noqa: E402
from served import Served, program  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

TEXTS = [
    "The three largest cities of France are Paris, Marseille and Lyon.",
    "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n",
    "Colourless green ideas sleep furiously; naïve cats 猫 do not. " * 6,
]
# Of a token, in nats: runs of smol compute products in bf16, transformers here in f32.
ROUNDING = 0.1


def completion(served, **fields):
    body = json.dumps({"model": served.name, "temperature": 0, "seed": 1234, **fields}).encode()
    request = urllib.request.Request(served.url + "/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def main():
    run, variant, weights = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    model = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32).eval()
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    with Served(program(), run=run, variant=variant) as served:
        told = completion(served, prompt=ids, echo=True, logprobs=1, max_tokens=1)["choices"]
        alone = completion(served, prompt=ids, echo=True, logprobs=1, max_tokens=0)["choices"]
        texts = completion(served, prompt=TEXTS, echo=True, logprobs=1, max_tokens=0)["choices"]
    worst = 0.0
    for text, tokens, choice, scored, of_text in zip(TEXTS, ids, told, alone, texts, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        expected = logits[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
        logprobs = scored["logprobs"]["token_logprobs"]
        assert logprobs[0] is None and scored["text"] == of_text["text"] == text, scored["text"]
        assert logprobs == of_text["logprobs"]["token_logprobs"], "a text is its tokens"
        # One token more is written, and cut off by those who asked for it.
        assert logprobs == choice["logprobs"]["token_logprobs"][:-1], "with an answer behind it"
        apart = (torch.tensor(logprobs[1:]) - expected).abs().max().item()
        worst = max(worst, apart)
        best = logits[:-1].max(-1).values
        for token, top, greedy in zip(logprobs[1:], scored["logprobs"]["top_logprobs"][1:], best, strict=True):
            # Parts of a character have one text, and one entry.
            if "\ufffd" not in top:
                assert abs(max(top.values()) - greedy.item()) < ROUNDING, (top, greedy)
                assert token <= max(top.values()), (top, token)
        found, sought = sum(logprobs[1:]), expected.sum().item()
        print(f"{len(tokens)} tokens: {found:.4f} here, {sought:.4f} by transformers, {apart:.1e} apart at most")
        # A rounded state moves unlikely tokens most; what is asked for is the sum.
        mean = (torch.tensor(logprobs[1:]) - expected).abs().mean().item()
        assert mean < ROUNDING, mean
        assert abs(found - sought) < ROUNDING * len(tokens) ** 0.5, (found, sought)
    print(f"log-probabilities of {sum(map(len, ids))} tokens are transformers' to {worst:.1e}")


if __name__ == "__main__":
    main()
