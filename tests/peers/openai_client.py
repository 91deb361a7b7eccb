"""OpenAI's own client asks a server: conversations, streams, pictures of every kind, completions, log-probabilities, errors.

    pip install openai==2.8.1 "pillow<14"
    cargo build --release && python tests/peers/openai_client.py

The greedy answer to every question is that of `crossloom generate`.
"""

import base64
import os
import time
from pathlib import Path

import openai
from served import Served, program


def data_url(path):
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()


def message(served, sample):
    picture = {"type": "image_url", "image_url": {"url": data_url(Path(sample["image"]))}}
    return [{"role": "user", "content": [picture, {"type": "text", "text": sample["question"]}]}]


def refused(kind, param, ask):
    """The call fails with this error, which names this field, and is not tried again."""
    began = time.monotonic()
    try:
        ask()
    except kind as error:
        assert type(error) is kind, error
        assert error.body["param"] == param, error.body
        assert time.monotonic() - began < 5, "it was tried again"
        return error
    raise AssertionError(f"no {kind.__name__}")


def answers(client, served):
    """Greedy answers, whole and streamed, are those of `generate`."""
    known = served.answers()
    for sample in served.samples:
        asked = dict(model=served.name, messages=message(served, sample), temperature=0, max_tokens=4)
        whole = client.chat.completions.create(**asked)
        text, expected = whole.choices[0].message.content, known[sample["image"], sample["question"]]
        assert text == expected, (sample, text, expected)
        usage, pieces, reasons = None, [], []
        options = {"include_usage": True}
        for chunk in client.chat.completions.create(**asked, stream=True, stream_options=options):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                reasons.append(choice.finish_reason)
        assert "".join(pieces) == text and reasons[-1] == whole.choices[0].finish_reason
        assert usage == whole.usage and usage.prompt_tokens > 16, usage
    return len(known)


def log_probabilities(client, served):
    """The best token is told first, and is the one of a greedy answer."""
    asked = dict(model=served.name, messages=message(served, served.samples[0]), temperature=0, max_tokens=4)
    content = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert content, "an answer has tokens"
    for token in content:
        assert len(token.top_logprobs) == 3 and token.logprob <= 0
        assert (token.token, token.logprob) == (token.top_logprobs[0].token, token.top_logprobs[0].logprob)


def seeds(client, served):
    """The same seed gives the same answers; several answers of one request have seeds of their own."""
    asked = dict(model=served.name, messages=message(served, served.samples[1]), temperature=5, max_tokens=4)
    several = [choice.message.content for choice in client.chat.completions.create(**asked, n=4, seed=3).choices]
    alone = [client.chat.completions.create(**asked, seed=3 + i).choices[0].message.content for i in range(4)]
    assert several == alone, (several, alone)
    assert len(set(several)) > 1, several


def gates(client, served):
    """The gates of a request, as an extension, are those of its picture."""
    of = lambda sample: client.chat.completions.create(  # noqa: E731
        model=served.name, messages=message(served, sample), max_tokens=1, extra_body={"crossloom": {"gates": True}}
    ).choices[0].crossloom["gates"]
    first, second = of(served.samples[0]), of(served.samples[1])
    assert len(first) == 4 and {gate["tap"] for gate in first} == {"block.1", "block.2"}, first
    assert first != second, "gates depend on the picture"


def errors(client, served):
    """What can never succeed is an error of its own kind, at once."""
    said = message(served, served.samples[0])
    ask = lambda **more: client.chat.completions.create(**{"model": served.name, "messages": said, **more})  # noqa: E731
    refused(openai.NotFoundError, "model", lambda: ask(model="gpt-4o"))
    refused(openai.BadRequestError, "temperature", lambda: ask(temperature=-1))
    refused(openai.BadRequestError, "max_tokens", lambda: ask(max_tokens=4000))
    refused(openai.BadRequestError, "tools", lambda: ask(tools=[{"type": "function", "function": {"name": "f"}}]))
    url = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    place = "messages[0].content[0].image_url.url"
    refused(openai.BadRequestError, place, lambda: ask(messages=[{"role": "user", "content": [url, said[0]["content"][1]]}]))
    url["image_url"]["url"] = said[0]["content"][0]["image_url"]["url"][:120]
    refused(openai.BadRequestError, place, lambda: ask(messages=[{"role": "user", "content": [url]}]))
    stranger = openai.OpenAI(base_url=served.url + "/v1", api_key="wrong")
    refused(openai.AuthenticationError, None, lambda: stranger.models.list())


def completions(client, name):
    """Texts and tokens are gone on from, several at once, whole and streamed; a prompt that is told has the log-probabilities of its tokens."""
    ask = lambda **more: client.completions.create(**{"model": name, "temperature": 0, "seed": 7, **more})  # noqa: E731
    lists = [[5, 6, 7, 8, 9], [9, 8], [7]]
    scored = ask(prompt=lists, echo=True, logprobs=1, max_tokens=0)
    texts = [choice.text for choice in scored.choices]
    assert [choice.index for choice in scored.choices] == [0, 1, 2] and scored.usage.completion_tokens == 0
    assert scored.usage.prompt_tokens == ask(prompt=texts, max_tokens=1).usage.prompt_tokens
    by_text = ask(prompt=texts, echo=True, logprobs=1, max_tokens=0)
    with_answer = ask(prompt=lists, echo=True, logprobs=1, max_tokens=1)
    for ids, choice, of_text, answered in zip(lists, scored.choices, by_text.choices, with_answer.choices, strict=True):
        logprobs = choice.logprobs
        assert len(logprobs.tokens) == len(ids) and choice.finish_reason == "length"
        assert all(logprob <= 0 for logprob in logprobs.token_logprobs[1:])
        places = zip(logprobs.text_offset, logprobs.tokens, strict=True)
        assert all(choice.text[at:].lstrip().startswith(token) for at, token in places), logprobs
        assert (of_text.text, of_text.logprobs) == (choice.text, logprobs), "a text is its tokens"
        assert answered.logprobs.token_logprobs[:-1] == logprobs.token_logprobs, "one token more"
        assert answered.text.startswith(choice.text)
    one = ask(prompt=lists[0], max_tokens=4, logprobs=2).choices[0]
    told = ask(prompt=lists[0], max_tokens=4, logprobs=2, echo=True).choices[0]
    assert told.text == texts[0] + one.text
    assert told.logprobs.token_logprobs[len(lists[0]):] == one.logprobs.token_logprobs
    streamed = list(ask(prompt=lists[0], max_tokens=4, logprobs=2, echo=True, stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed) == told.text
    pieces = [chunk.choices[0].logprobs for chunk in streamed if chunk.choices[0].logprobs]
    assert sum((piece.token_logprobs for piece in pieces), []) == told.logprobs.token_logprobs
    several = ask(prompt=lists[:2], n=2, best_of=2, temperature=4, max_tokens=4).choices
    alone = [ask(prompt=prompt, seed=7 + n, temperature=4, max_tokens=4).choices[0].text for prompt in lists[:2] for n in range(2)]
    assert [choice.text for choice in several] == alone, "prompts first, then answers"
    for param, more in {
        "suffix": {"suffix": "x"},
        "best_of": {"best_of": 2},
        "max_tokens": {"max_tokens": 0},
        "logprobs": {"logprobs": 21},
        "prompt": {"prompt": [1 << 20]},
        "prompt[0][1]": {"prompt": [[5, -5]]},
    }.items():
        refused(openai.BadRequestError, param, lambda more=more: ask(**{"prompt": "what", **more}))


def main():
    os.environ["CROSSLOOM_API_KEY"] = "right"
    with Served(program()) as served:
        client = openai.OpenAI(base_url=served.url + "/v1", api_key="right")
        assert [model.id for model in client.models.list()] == [served.name]
        count = answers(client, served)
        log_probabilities(client, served)
        seeds(client, served)
        gates(client, served)
        errors(client, served)
        with Served(program(), run=served.run, variant="blind") as blind:
            completions(openai.OpenAI(base_url=blind.url + "/v1", api_key="right"), blind.name)
        print(f"{count} answers are those of generate, whole and streamed; completions, log-probabilities, seeds, gates and errors as documented")


if __name__ == "__main__":
    main()
