"""OpenAI's own client asks a server: conversations, streams, pictures of every kind, log-probabilities, errors.

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
        print(f"{count} answers are those of generate, whole and streamed; log-probabilities, seeds, gates and errors as documented")


if __name__ == "__main__":
    main()
