"""lmms-eval asks a server, through its `openai` model, a task of pictures on disk: every answer, and the score, are the model's own.

    pip install lmms_eval==0.7.3 "datasets<4" "filelock<3.19"
    cargo build --release && python tests/peers/lmms_eval.py

A small model is trained, and asked about PNG files of every kind: RGB, palette, RGBA, grey of 8 and of 16 bits. They reach the server as they
are, since the harness keeps the mode of a picture; it sends content as a list of parts, no seed and no texts that end an answer, and many
requests at once. Answers are held against those of `generate`. With `--run` and `--pictures` it asks a run that is there, whose answers in
`samples.jsonl` are those of its own evaluation:

    python tests/peers/lmms_eval.py --run runs/smol-1a2b3c4d --variant cli --pictures FOLDER --limit 150

`FOLDER` holds the picture of a question as `IMAGE.png`, as the data of easy-VQA does.
"""

import argparse
import json
import os
import string
import subprocess
import sys
from pathlib import Path

# Beside this script, not the package that it asks with.
sys.path.append(sys.path.pop(0))

from datasets import Dataset, Features, Image, Value  # noqa: E402
from served import Served, program  # noqa: E402

TASK = """
task: served
dataset_path: parquet
dataset_kwargs:
  data_files: {{ test: {samples} }}
test_split: test
output_type: generate_until
doc_to_visual: !function how.visual
doc_to_text: !function how.text
doc_to_target: truth
process_results: !function how.results
generation_kwargs: {{ max_new_tokens: {tokens}, temperature: 0, do_sample: false }}
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
metadata:
  - version: 0
"""

# The score is computed by the task, as tasks of the harness do.
HOW = """
import string

def plain(text):
    return text.lower().translate(str.maketrans("", "", string.punctuation)).strip()

def visual(doc):
    return [doc["picture"]]

def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def results(doc, answers):
    return {"exact": float(plain(answers[0]) == plain(doc["truth"]))}
"""

def own_samples(served):
    """What `generate` answers about every PNG file. Every other truth is the answer itself, so that some are right."""
    known = served.answers()
    samples = [sample for sample in served.samples if sample["image"].endswith(".png")]
    answers = [known[sample["image"], sample["question"]] for sample in samples]
    truths = [answer if number % 2 else "none of them" for number, answer in enumerate(answers)]
    rows = zip(samples, truths, answers, strict=True)
    return [(sample["question"], sample["image"], truth, answer) for sample, truth, answer in rows]


def evaluated(served, pictures, limit):
    """What the run's own evaluation answered."""
    lines = (served.run / served.variant / "samples.jsonl").read_text().splitlines()[:limit]
    records = [json.loads(line) for line in lines]
    wrong = [record["id"] for record in records if record["correct"] != (plain(record["answer"]) == plain(record["truth"][0]))]
    assert not wrong, f"scored by another metric than exact match: {wrong[:5]}"
    return [
        (record["question"], str(pictures.resolve() / f"{record['image']}.png"), record["truth"][0], record["answer"])
        for record in records
    ]


def asked(served, samples, tokens, name, place):
    """What the harness has for every question, in their order, and its score, of a model of that name."""
    folder, out = served.folder / place, served.folder / place / "out"
    folder.mkdir()
    rows = [{"question": question, "picture": picture, "truth": truth} for question, picture, truth, _ in samples]
    kinds = Features({"question": Value("string"), "truth": Value("string"), "picture": Image()})
    Dataset.from_list(rows, features=kinds).to_parquet(folder / "samples.parquet")
    (folder / "served.yaml").write_text(TASK.format(samples=folder / "samples.parquet", tokens=tokens))
    (folder / "how.py").write_text(HOW)
    model = f"model_version={name},base_url={served.url}/v1,api_key=none,max_retries=2,retry_backoff_s=0.1"
    command = [sys.executable, "-m", "lmms_eval", "--model", "openai", "--model_args", model, "--tasks", "served"]
    command += ["--include_path", folder, "--batch_size", "1", "--log_samples", "--output_path", out]
    alone = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(served.folder / "cache")}
    subprocess.run(command, check=True, cwd=served.folder, env={**os.environ, **alone})
    (results,) = out.glob("**/*_results.json")
    score = json.loads(results.read_text())["results"]["served"]["exact,none"]
    (logged,) = out.glob("**/*_samples_served.jsonl")
    answers = {}
    for line in logged.read_text().splitlines():
        record = json.loads(line)
        answer = record["filtered_resps"]
        answers[record["doc_id"]] = answer[0] if isinstance(answer, list) else answer
    return [answers[number] for number in range(len(samples))], score


def plain(text):
    return text.lower().translate(str.maketrans("", "", string.punctuation)).strip()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--run", type=Path)
    options.add_argument("--variant", default="cli")
    options.add_argument("--pictures", type=Path)
    options.add_argument("--limit", type=int)
    given = options.parse_args()
    run = given.run and given.run.resolve()
    # Arguments of the harness end at commas, which names of variants may have.
    with Served(program(), "--name", "served", run=run, variant=given.variant) as served:
        samples = evaluated(served, given.pictures, given.limit) if run else own_samples(served)
        tokens = json.loads((served.run / given.variant / "interface.json").read_text())["shapes"]["max_new_tokens"]
        answers, score = asked(served, samples, tokens, served.name, "task")
        failed, nothing = asked(served, samples[:2], tokens, "another", "refused")
    # What `runs compare` takes for no answer.
    assert all(text.startswith("[LMMS_EVAL_REQUEST_FAILED after 2 retries] Error code: 404") for text in failed), failed
    assert nothing == 0, nothing
    known = [answer for *_, answer in samples]
    differ = [(at, one, other) for at, (one, other) in enumerate(zip(known, answers, strict=True)) if one.strip() != other.strip()]
    assert not differ, f"{len(differ)} of {len(known)} answers differ: {differ[:5]}"
    own = sum(plain(answer) == plain(truth) for *_, truth, answer in samples) / len(samples)
    assert abs(score - own) < 1e-9, (score, own)
    kinds, by = len(set(answers)), "the evaluation" if run else "generate"
    assert kinds > 1, answers
    print(f"{len(answers)} answers of the harness, {kinds} different ones, are those of {by}; both score {score:.3f}")


if __name__ == "__main__":
    main()
