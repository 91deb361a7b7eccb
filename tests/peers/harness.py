"""lmms-eval asks a server, through its `openai` model, on a task of local pictures: every answer, and the score, are the run's own.

    pip install lmms_eval==0.7.3
    cargo build --release && python tests/peers/harness.py

The harness sends content as a list of parts, no seed and no texts that end an answer, and up to 32 requests at once. The pictures reach it in the
mode of their files: palette, grey of 8 and 16 bits, RGBA.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from datasets import Dataset, Features, Image, Value
from served import Served, program

TASK = """
task: served
dataset_path: parquet
dataset_kwargs: {{ data_files: {{ test: {samples} }} }}
test_split: test
output_type: generate_until
doc_to_visual: !function how.visual
doc_to_text: !function how.text
doc_to_target: answer
process_results: !function how.results
generation_kwargs: {{ max_new_tokens: 4, temperature: 0, do_sample: false }}
metric_list: [{{ metric: exact, aggregation: mean, higher_is_better: true }}]
metadata: [{{ version: 0 }}]
"""

HOW = """
def visual(doc):
    return [doc["picture"]]

def text(doc, *_):
    return doc["question"]

def results(doc, answers):
    return {"exact": float(answers[0] == doc["answer"])}
"""


def asked(served):
    """What the harness has for every sample, by question and picture, and its score."""
    folder, out = served.folder / "task", served.folder / "out"
    folder.mkdir()
    samples = served.tests()
    rows = [{**sample, "picture": str(served.folder / "pictures" / sample["image"])} for sample in samples]
    kinds = Features({"image": Value("string"), "question": Value("string"), "answer": Value("string"), "picture": Image()})
    Dataset.from_list(rows, features=kinds).to_parquet(folder / "samples.parquet")
    (folder / "served.yaml").write_text(TASK.format(samples=folder / "samples.parquet"))
    (folder / "how.py").write_text(HOW)
    model = f"model_version={served.name},base_url={served.url}/v1,api_key=none"
    command = [sys.executable, "-m", "lmms_eval", "--model", "openai", "--model_args", model, "--tasks", "served"]
    command += ["--include_path", folder, "--batch_size", "1", "--log_samples", "--output_path", out]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(served.folder / "cache")}
    subprocess.run(command, check=True, cwd=served.folder, env={**os.environ, **offline})
    (results,) = out.glob("**/*_results.json")
    score = json.loads(results.read_text())["results"]["served"]["exact,none"]
    (logged,) = out.glob("**/*_samples_served.jsonl")
    records = [json.loads(line) for line in Path(logged).read_text().splitlines()]
    answers = {}
    for record in records:
        sample = samples[record["doc_id"]]
        answer = record["filtered_resps"]
        answers[sample["image"], sample["question"]] = answer[0] if isinstance(answer, list) else answer
    return answers, score


def main():
    with Served(program()) as served:
        answers, score = asked(served)
        own = served.answers()
    assert answers == {key: record["answer"] for key, record in own.items()}, (answers, own)
    expected = sum(record["answer"] == record["truth"][0] for record in own.values()) / len(own)
    assert abs(score - expected) < 1e-9, (score, expected)
    print(f"{len(answers)} answers of the harness are those of the evaluation; both score {score:.3f}")


if __name__ == "__main__":
    main()
