"""Writes Parquet files as data sets of conversations have them, and what pyarrow reads in them, for the tests of crossloom-data.

Run by hand:

    pip install pyarrow==26.0.1 pillow
    python tests/oracle/make_parquet_fixtures.py

`crates/crossloom-data/tests/parquet/NAME.parquet` are the files, `rows.json` their rows by name, with the bytes of pictures in hexadecimal.
"""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-data/tests/parquet"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade):
    """A PNG of one shade, wider by its shade."""
    file = io.BytesIO()
    Image.new("RGB", (2 + shade, 2), (20 * shade, 20 * shade, 20 * shade)).save(file, "png")
    return {"bytes": file.getvalue(), "path": f"{shade}.png" if shade % 2 else None}


def llava():
    """LLaVA's columns: one picture or none, several turns, row groups of three."""
    turns = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    rows = []
    for n in range(8):
        said = [("human", ("<image>\n" if n % 3 else "") + f"What is in row {n}?"), ("gpt", f"Shade {n}.")]
        said += [("human", "Sure?"), ("gpt", "Yes.")] * (n % 3)
        rows.append(
            {
                "id": str(n),
                "image": picture(n) if n % 3 else None,
                "conversations": [{"from": who, "value": text} for who, text in said],
            }
        )
    schema = pa.schema([("id", pa.string()), ("image", PICTURE), ("conversations", turns)])
    return pa.Table.from_pylist(rows, schema), {"row_group_size": 3}


def messages():
    """Lists of parts in lists of messages, several pictures; small pages in the second form, and an index of them."""
    part = pa.struct([("index", pa.int64()), ("text", pa.string()), ("type", pa.string())])
    said = pa.list_(pa.struct([("content", pa.list_(part)), ("role", pa.string())]))
    rows = []
    for n in range(12):
        shown = [picture(k) for k in range(n % 4)]
        asked = [{"index": k, "text": None, "type": "image"} for k in range(len(shown))]
        asked.append({"index": None, "text": f"How many in row {n}?", "type": "text"})
        answer = [{"index": None, "text": str(len(shown)), "type": "text"}]
        rows.append({"images": shown, "messages": [{"content": asked, "role": "user"}, {"content": answer, "role": "assistant"}]})
    schema = pa.schema([("images", pa.list_(PICTURE)), ("messages", said)])
    options = {"row_group_size": 7, "data_page_version": "2.0", "data_page_size": 60, "write_batch_size": 1}
    return pa.Table.from_pylist(rows, schema), options | {"write_page_index": True, "compression": "zstd"}


def pages():
    """Lists of pictures in small pages of the first form, whose rows are known by an index alone."""
    rows = []
    for n in range(10):
        shown = [picture(k) for k in range(1 + n % 3)]
        rows.append({"images": shown, "question": f"How many in row {n}?", "answer": str(len(shown))})
    schema = pa.schema([("images", pa.list_(PICTURE)), ("question", pa.string()), ("answer", pa.string())])
    return pa.Table.from_pylist(rows, schema), {"data_page_size": 60, "write_batch_size": 1, "write_page_index": True}


def questions():
    """A picture as bytes alone, neither compressed nor by a dictionary, of columns that are always there."""
    rows = [{"image": picture(n)["bytes"], "question": f"Shade of {n}?", "answer": f"{n}"} for n in range(5)]
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in
                        [("image", pa.binary()), ("question", pa.string()), ("answer", pa.string())]])
    return pa.Table.from_pylist(rows, schema), {"compression": "none", "use_dictionary": False}


def paths():
    """Pictures in a folder."""
    rows = [{"image": f"{n}.png", "question": "Which?", "answer": f"{n}"} for n in range(3)]
    return pa.Table.from_pylist(rows), {}


def gzip():
    """A codec that is refused."""
    return pa.Table.from_pylist([{"question": "Which?", "answer": "None."}]), {"compression": "gzip"}


def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    return value


def main():
    FOLDER.mkdir(exist_ok=True)
    rows = {}
    for make in [llava, messages, pages, questions, paths, gzip]:
        table, options = make()
        path = FOLDER / f"{make.__name__}.parquet"
        # What pandas or Arrow would need to know is left out: it is most of a small file.
        pq.write_table(table, path, store_schema=False, **options)
        rows[make.__name__] = shown(pq.read_table(path).to_pylist())
    (FOLDER / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")


main()
