"""Chat templates that packages ship, and what transformers writes with them, to be compared with crossloom's.

    pip install torch transformers==5.23.0 jinja2 && pip install --no-deps trl
    python tests/peers/chat_templates.py FOLDER_OF_TEMPLATES... > templates.json
    CROSSLOOM_CHAT_TEMPLATES="$PWD/templates.json" cargo test --workspace --test chats -- --nocapture templates_that_packages_ship

The folders are searched for `*.jinja`; trl has them in `trl/chat_templates`. Templates that ask for the date are left out: crossloom gives
them none.
"""

import json
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


def say(role, *parts):
    return {"role": role, "content": [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]}


CONVERSATIONS = {
    "words": [say("user", "Why is the sky blue?")],
    "turns": [say("system", "Answer briefly."), say("user", "One  \n"), say("assistant", " two "), say("user", "three <b>&")],
    "answered": [say("user", "a"), say("assistant", "<think>\nhm\n</think>\n\nb")],
    "picture": [say("user", None, "What is this?")],
    "pictures": [say("user", None, "one", None, "two"), say("assistant", "b"), say("user", "c")],
}


def as_texts(conversation):
    return [{"role": message["role"], "content": "".join(part["text"] for part in message["content"])} for message in conversation]


def rendered(source, conversation, answer):
    try:
        return render_jinja_template([conversation], chat_template=source, add_generation_prompt=answer, **TOKENS)[0][0]
    except Exception:
        return None


def reads_parts(source):
    text = rendered(source, [say("user", "crossloom-probe")], False)
    return text is not None and "crossloom-probe" in text and "'type'" not in text and '"type"' not in text


if __name__ == "__main__":
    files = sorted(file for folder in sys.argv[1:] for file in Path(folder).rglob("*.jinja"))
    told, dated = [], 0
    for file in files:
        source = file.read_text()
        if "strftime_now" in source:
            dated += 1
            continue
        parts, conversations = reads_parts(source), []
        for name, conversation in CONVERSATIONS.items():
            if not parts and "picture" in name:
                continue
            given = conversation if parts else as_texts(conversation)
            for answer in (False, True):
                conversations.append({"name": name, "messages": conversation, "answer": answer, "text": rendered(source, given, answer)})
        told.append({"name": file.name, "source": source, "conversations": conversations})
    json.dump({"tokens": TOKENS, "templates": told, "dated": dated}, sys.stdout)
