"""Writes what transformers makes of texts and conversations, for the tests of crossloom-data.

Run by hand: `pip install torch transformers==5.23.0 tokenizers jinja2 gguf`, then `python tests/oracle/make_chat_fixtures.py`.

`chat/NAME.json` are small tokenizers of bytes, trained here: `smollm` splits texts as SmolLM2 does, `qwen2` as Qwen2. `chat/cases.json`
holds ids of texts and what they decode to; templates, conversations and what `apply_chat_template` writes; and ids of prompts whose
placeholders LLaVA's processor has filled up. `chat/smollm.gguf` is the first tokenizer, with the template `marks`, and no tensor.
"""

import json
import tempfile
from pathlib import Path

import gguf
import numpy as np
from PIL import Image
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.utils.chat_template_utils import render_jinja_template

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-data/tests/chat"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXTS = [
    "What colour is the shape?",
    "  two  spaces, 12345 digits and\r\n\r\nlines\n",
    "Ünïcödé, cafe\u0301, 日本語, 🎈🎈, it's WE'LL",
    "<|im_start|>user\nAn <image> here<|im_end|>\n",
    "",
    " ",
]
CORPUS = ["What colour is the shape? The shape is a red circle, a blue square.", "it's there; we'll see 12 or 345 of them",
          "user assistant system You are a helpful assistant.", "日本語 cafe\u0301 caf\u00e9 Ünïcödé"] * 4


def trained(splits):
    made = Tokenizer(models.BPE())
    if splits == "smollm":
        before = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    else:
        made.normalizer = normalizers.NFC()
        before = [pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(before)
    made.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    made.add_tokens([AddedToken("<added>", special=False, normalized=False)])
    return made


TEMPLATES = {
    # Turns between marks, with a system turn of its own where there is none.
    "marks": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # Parts, pictures first.
    "parts": "{% for message in messages %}{{ message['role'].upper() + ': ' }}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}{% if message['role'] != 'assistant' %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' ' }}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    # Text or parts; white space between lines of the template; a namespace, filters, Python's methods.
    "lines": """{%- set ns = namespace(images=0, last='') -%}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set body = message.content | trim %}
    {%- else %}
        {%- set body %}
            {%- for part in message.content %}
                {%- if part.type == 'image' %}
                    {%- set ns.images = ns.images + 1 %}
                    {{- 'Picture ' ~ ns.images ~ ': <image>\n' }}
                {%- elif 'text' in part %}
                    {{- part.text.strip() }}
                {%- endif %}
            {%- endfor %}
        {%- endset %}
    {%- endif %}
    {{- bos_token + message.role.title() + ' (' ~ loop.index0 ~ '/' ~ (messages | length) ~ ')\n' + body + eos_token }}
    {%- set ns.last = message.role %}
{%- endfor %}
{% if add_generation_prompt and ns.last != 'assistant' %}
{{ bos_token }}Assistant
{% endif %}""",
    # What Python writes for things that are no text; loops that are left; JSON.
    "python": """{% for message in messages %}
{% if message.role == 'system' %}{% continue %}{% endif %}
{{ loop.last }} {{ none }} {{ message.missing is defined }} {{ [1, 2.5, 'a'] | tojson }} {{ {'k': 'é<&>', 'n': none} | tojson }}
{{ {'a': [1, {'b': true}]} | tojson(indent=2) }}
{{ messages[0].role.startswith('sys') and not message.role.endswith('x') }} {{ message.content.split(' ')[0] if message.content is string }}{{ message.content[-1].text.split(' ')[-1] if message.content is not string }}
{% if loop.index > 2 %}{% break %}{% endif %}
{% endfor %}
{% macro turn(role) %}[{{ role }}]{% endmacro %}{{ turn('end') }}{{ messages[::-1] | length }}{{ '%s-%d' | format('x', 3) if false else 'ok' }}
""",
}
CONVERSATIONS = {
    "question": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour is  the shape? "}]}],
    "turns": [
        {"role": "system", "content": [{"type": "text", "text": "Answer in one word."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which is red?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "the first"}]},
        {"role": "user", "content": [{"type": "text", "text": "And\nblue {{ none }}?"}]},
    ],
    "words": [{"role": "user", "content": [{"type": "text", "text": "No picture, <b>é</b> & \"so\""}]}],
}
# Templates that read texts alone are given these, in which a picture is its token.
READS_TEXTS = {"marks"}


def as_texts(conversation):
    def text(part):
        return part["text"] if part["type"] == "text" else "<image>\n"

    return [{"role": message["role"], "content": "".join(map(text, message["content"]))} for message in conversation]


def conversations():
    told = []
    for template, source in TEMPLATES.items():
        for name, conversation in CONVERSATIONS.items():
            given = as_texts(conversation) if template in READS_TEXTS else conversation
            for answer in (False, True):
                rendered, _ = render_jinja_template([given], chat_template=source, add_generation_prompt=answer, bos_token="<|endoftext|>", eos_token="<|im_end|>")
                told.append({"template": template, "conversation": name, "answer": answer, "text": rendered[0]})
    return told


def prompts(tokenizer):
    """Ids of prompts with pictures, filled up by LLaVA's processor: 6 by 4 patches, a class token that is left out."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(f"{folder}/tokenizer.json")
        wrapped = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", pad_token="<|endoftext|>", extra_special_tokens={"image_token": "<image>"})
    images = CLIPImageProcessorPil(size={"height": 56, "width": 84}, crop_size={"height": 56, "width": 84})
    processor = LlavaProcessor(images, wrapped, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1)
    picture, told = Image.fromarray(np.zeros((30, 40, 3), np.uint8)), []
    for text in ["USER: <image>\nWhat colour? ASSISTANT:", "<image><image>\nWhich?", "no picture"]:
        given = [picture] * text.count("<image>")
        ids = processor(images=given or None, text=text, return_tensors=None)["input_ids"]
        ids = ids[0] if isinstance(ids[0], list) else ids
        told.append({"text": text, "ids": list(map(int, ids))})
    return {"image": wrapped.convert_tokens_to_ids("<image>"), "tokens": 24, "cases": told}


def in_gguf(tokenizer, path):
    read = json.loads(tokenizer.to_str())
    kinds = {token["id"]: gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED for token in read["added_tokens"]}
    ids = range(tokenizer.get_vocab_size())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokenizer.id_to_token(id) for id in ids])
    writer.add_token_types([kinds.get(id, gguf.TokenType.NORMAL) for id in ids])
    writer.add_token_merges([" ".join(pair) for pair in read["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATES["marks"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizers, texts = {name: trained(name) for name in ("smollm", "qwen2")}, {}
    for name, tokenizer in tokenizers.items():
        tokenizer.save(str(FOLDER / f"{name}.json"))
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        texts[name] = []
        for text in TEXTS:
            ids = fast(text, add_special_tokens=False)["input_ids"]
            texts[name].append({"text": text, "ids": ids, "decoded": fast.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)})
    told = {"texts": texts, "templates": TEMPLATES, "conversations": CONVERSATIONS, "rendered": conversations(), "prompts": prompts(tokenizers["smollm"])}
    (FOLDER / "cases.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    in_gguf(tokenizers["smollm"], FOLDER / "smollm.gguf")
