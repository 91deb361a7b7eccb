"""Writes a tiny sentence encoder and what transformers computes with it, for the tests of crossloom-run.

Run by hand: `pip install torch transformers==5.23.0 tokenizers safetensors`, then `python tests/oracle/make_sentence_fixture.py`.
With a folder it is given, as that of all-MiniLM-L6-v2, it writes that encoder's vectors of the same texts alone.

`fixtures/sentences` is a folder as sentence-transformers lays it out, with random weights. Its tokenizer cuts at 12 tokens and pads to
12, as published ones do; no one is meant to do either. `fixtures/sentences/reference.safetensors` holds of every text of `TEXTS`
`ids.N` and, computed in double precision, `vector.N`: the mean of the last states over the text's tokens, made as long as 1.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

FIXTURES = Path(__file__).resolve().parents[2] / "crates/crossloom-run/tests/fixtures"
# Words, pieces of words, accents and letters of either case, marks, a single letter, more than 16 tokens, nothing, what is no word.
TEXTS = [
    "Which colour is the shape?",
    "is there a RED circle in the pictüre",
    "a",
    "count the small circles, then the large circles; name the colour of each of them and of the square below",
    "",
    "shapes & [SEP] shapes",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "which colour is the shape there a red circle in picture count small then large name of each and square below".split()


def tokenizer():
    letters = [chr(ord("a") + n) for n in range(26)]
    vocabulary = SPECIAL + WORDS + letters + [f"##{letter}" for letter in letters] + list("?,;&[]")
    made = Tokenizer(models.WordPiece({word: n for n, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.enable_truncation(12)
    made.enable_padding(length=12)
    return made


def encoder(words):
    config = BertConfig(
        vocab_size=words, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=40, layer_norm_eps=1e-6,
    )
    model, generator = BertModel(config), torch.Generator().manual_seed(21)
    for name, parameter in sorted(model.named_parameters()):
        draw = torch.randn(parameter.shape, generator=generator)
        gain = name.endswith("LayerNorm.weight")
        parameter.data.copy_(1.0 + 0.3 * draw if gain else 0.3 * draw)
    return model


def written(folder):
    """The folder of the tiny encoder."""
    made = tokenizer()
    model = encoder(made.get_vocab_size())
    model.save_pretrained(folder)
    made.save(str(folder / "tokenizer.json"))
    types = ["models.Transformer", "models.Pooling", "models.Normalize"]
    modules = [{"idx": n, "name": str(n), "type": f"sentence_transformers.{kind}"} for n, kind in enumerate(types)]
    modes = {f"pooling_mode_{mode}": mode == "mean_tokens" for mode in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, content in [
        ("modules.json", modules),
        ("1_Pooling/config.json", {"word_embedding_dimension": 24} | modes),
        ("sentence_bert_config.json", {"max_seq_length": 36, "do_lower_case": False}),
    ]:
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def vectors(folder):
    """Ids and vectors of the texts."""
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    # A special token that is spelt in a text is text.
    made.encode_special_tokens = True
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).double().eval()
    told = {}
    for number, text in enumerate(TEXTS):
        ids = torch.tensor([made.encode(text).ids])
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0]
        told[f"ids.{number}"] = ids[0].to(torch.int32)
        told[f"vector.{number}"] = torch.nn.functional.normalize(states.mean(0), dim=0).float()
        print(number, made.encode(text).tokens)
    return told


if __name__ == "__main__":
    if len(sys.argv) > 1:
        save_file(vectors(Path(sys.argv[1])), FIXTURES / "all_minilm_l6_v2.safetensors")
    else:
        place = FIXTURES / "sentences"
        place.mkdir(parents=True, exist_ok=True)
        written(place)
        save_file(vectors(place), place / "reference.safetensors")
