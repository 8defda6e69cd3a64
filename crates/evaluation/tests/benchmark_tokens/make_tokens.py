"""Writes tokens.json: what lm-evaluation-harness and the tokenizers library make of the benchmark files, as hashes.

    pip install lm_eval
    python make_tokens.py DATA_DIR

Nothing of this project takes part. Prompts are built by the functions of the harness's own tasks where it has functions, and as
its YAML files say elsewhere; pairs are encoded by its `TemplateLM._encode_pair`, texts are cut by its rolling windows, and ids are
those of the `tokenizers` library with the GPT-NeoX tokenizer of DATA_DIR.

Per task: the number of documents and requests, and the SHA-256 over all requests in order, each as 32-bit little-endian numbers:
tokens of the context, the context, tokens of the continuation, the continuation.
"""

import bz2
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

import lm_eval
import tokenizers
from lm_eval.api.model import TemplateLM
from lm_eval.tasks.hellaswag import utils as hellaswag
from lm_eval.tasks.wikitext import preprocess_wikitext as wikitext
from lm_eval.tasks.winogrande import preprocess_winogrande as winogrande
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

MAX_LENGTH = 2048
PREFIX = 0  # <|endoftext|>


class Encoder(TemplateLM):
    """The harness's way to encode, with a tokenizer and no model."""

    backend = "causal"
    eot_token_id = PREFIX
    prefix_token_id = PREFIX

    def __init__(self, path):
        self.inner = tokenizers.Tokenizer.from_file(str(path))
        self.requests = []

    def tok_encode(self, string, add_special_tokens=True, **kwargs):
        return self.inner.encode(string, add_special_tokens=add_special_tokens).ids

    def _loglikelihood_tokens(self, requests, **kwargs):
        for _, context, continuation in requests:
            # As HFLM cuts: it reads all but the last of the last MAX_LENGTH + 1 tokens.
            surplus = max(0, len(context) + len(continuation) - (MAX_LENGTH + 1))
            self.requests.append((context[surplus:], continuation))
        return []

    def windows(self, text):
        windows = get_rolling_token_windows(self.tok_encode(text), PREFIX, MAX_LENGTH, 1)
        self.requests.extend(make_disjoint_window(window) for window in windows)

    def loglikelihood_rolling(self, requests, **kwargs):
        raise NotImplementedError

    def generate_until(self, requests, **kwargs):
        raise NotImplementedError


class Request:
    def __init__(self, context, continuation):
        self.args = (context, continuation)


def rows(path):
    if path.suffix == ".bz2":
        text = bz2.open(path, "rt", encoding="utf-8").read()
    else:
        text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def lambada(data):
    for row in rows(data / "lambada/lambada_test.jsonl"):
        words = row["text"].split(" ")
        yield [(" ".join(words[:-1]), " " + words[-1])]


def arc(name):
    def documents(data):
        for row in rows(data / f"arc/{name}-Test.jsonl"):
            question = f"Question: {row['question']}\nAnswer:"
            yield [(question, " " + text) for text in row["choices"]["text"]]

    return documents


def piqa(data):
    for row in rows(data / "piqa/valid.jsonl"):
        question = f"Question: {row['goal']}\nAnswer:"
        yield [(question, " " + row["sol1"]), (question, " " + row["sol2"])]


def winogrande_documents(data):
    for row in rows(data / "winogrande/dev.jsonl"):
        target = winogrande.doc_to_target(row)
        yield [(context, " " + target) for context in winogrande.doc_to_choice(row)]


def hellaswag_documents(data):
    released = data / "hellaswag/hellaswag_val.jsonl"
    if released.exists():
        for row in rows(released):
            context = row["ctx_a"] + " " + row["ctx_b"].capitalize()
            query = hellaswag.preprocess(row["activity_label"] + ": " + context)
            yield [(query, " " + hellaswag.preprocess(ending)) for ending in row["endings"]]
    else:
        for row in rows(data / "hellaswag/hellaswag_val_preprocessed.jsonl.bz2"):
            yield [(row["query"], " " + ending) for ending in row["endings"]]


def pages(data):
    """The pages of EleutherAI/wikitext_document_level: lines from one heading of the first level to the next."""
    lines = (data / "wikitext2/wiki.test.raw").read_text(encoding="utf-8").split("\n")
    starts = [at for at, line in enumerate(lines) if re.fullmatch(r" = [^=]+ = ", line)]
    return ["\n".join(lines[start:end]) for start, end in zip(starts, starts[1:] + [len(lines)])]


TASKS = {
    "lambada_openai": lambada,
    "arc_easy": arc("ARC-Easy"),
    "arc_challenge": arc("ARC-Challenge"),
    "piqa": piqa,
    "winogrande": winogrande_documents,
    "hellaswag": hellaswag_documents,
}


def digest(requests):
    sha = hashlib.sha256()
    for request in requests:
        for ids in request:
            sha.update(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
    return sha.hexdigest()


def main(data):
    tokenizer = data / "neox-tokenizer/20B_tokenizer.json"
    out = {"lm_eval": lm_eval.__version__, "tokenizers": tokenizers.__version__, "tasks": {}}
    for name, documents in TASKS.items():
        encoder = Encoder(tokenizer)
        documents = list(documents(data))
        encoder.loglikelihood([Request(*pair) for pairs in documents for pair in pairs], disable_tqdm=True)
        out["tasks"][name] = record(len(documents), encoder)
    encoder = Encoder(tokenizer)
    counts = hashlib.sha256()
    for page in pages(data):
        page = {"page": page}
        encoder.windows(wikitext.wikitext_detokenizer(page))
        result = wikitext.process_results(page, (0.0,))
        counts.update(struct.pack("<2I", result["word_perplexity"][1], result["byte_perplexity"][1]))
    out["tasks"]["wikitext"] = record(len(pages(data)), encoder) | {"words_and_bytes": counts.hexdigest()}
    path = Path(__file__).parent / "tokens.json"
    path.write_text(json.dumps(out, indent=2) + "\n")


def record(documents, encoder):
    return {"documents": documents, "requests": len(encoder.requests), "sha256": digest(encoder.requests)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
