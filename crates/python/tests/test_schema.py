"""The JSON Schema of experiment files says what the program says of their form."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.yaml")) + sorted(EXPERIMENTS.glob("claims/*.yaml"))

SMALLEST = """\
name: t
models: [builtin:mamba2-world]
tasks: [world_lambada]
strategies: [dense, top_k]
schedule: { sites: paper, flops_reduction: 0.2 }
"""

# Lines that take the place of those of the same key, and whether the file is still one.
FORMS = [
    ("limit: 5", True),
    ("limit: 0", False),
    ("limit: many", False),
    ("protcols: [context]", False),
    ("protocols: context", False),
    ("protocols: [context, upstream]", True),
    ("protocols: [contxt]", False),
    ("name: My Test", False),
    ("tasks: world_lambada", False),
    ("tasks: [{ world_text: { context: [16, 32] } }]", True),
    ("tasks: [{ world_text: { contxt: 16 } }]", False),
    ("models: [{ path: builtin:mamba2-world }]", True),
    ("models: [{ tokenizer: a/b }]", False),
    ("models: [7]", False),
    ("strategies: [dense, { top_k: { importance: [clip, l1] } }]", True),
    ("strategies: [dense, { top_k: { importance: clip } }]", True),
    ("strategies: [dense, { top_k: { importance: clp } }]", False),
    ("strategies: [dense, { top_k: { imprtance: clip } }]", False),
    ("strategies: [dense, { top_k: }]", True),
    ("strategies: [dense, { random: { seeds: [0, 1] } }]", True),
    ("strategies: [dense, { random: { seeds: 0 } }]", False),
    ("strategies: [dense, { top_k: { seeds: [0, 1] } }]", False),
    ("strategies: [dense, { utrc: { q: 0.5 } }]", True),
    ("strategies: [dense, { utrc: { q: 1.5 } }]", False),
    ("strategies: [dense, topk]", False),
    ("strategies: [dense, { top_k: {}, utrc: {} }]", False),
    ("schedule: [{ sites: [3, 5], keep_ratio: 0.9 }, { sites: { single: all }, keep_ratio: [0.5, 1] }]", True),
    ("schedule: { sites: { start: 2, every: 3, count: 4 }, flops_reduction: { achieved: 0.1 } }", True),
    ("schedule: { sites: { after: mamba2, start: 2 }, keep_ratio: 0.9 }", True),
    ("schedule: { sites: { after: attn }, keep_ratio: 0.9 }", False),
    ("schedule: { sites: { start: 2, evry: 3 }, keep_ratio: 0.9 }", False),
    ("schedule: { sites: all, keep_ratio: 0.9 }", False),
    ("schedule: { sites: paper, keep_ratio: 0.9, flops_reduction: 0.1 }", False),
    ("schedule: { sites: paper, keep_ratio: 0 }", False),
    ("schedule: { sites: paper, flops_reduction: 1 }", False),
    ("schedule: { sites: paper, flops_reduction: 20% }", False),
    ("schedule: { sites: paper, flops_reduction: [] }", False),
    ("schedule: { sites: paper, flops_reduction: [0.1, { achieved: 0.2 }] }", False),
    ("exclude: [{ strategy: top_k, flops_reduction: 0.2, importance: clip, reason: why }]", True),
    ("exclude: [{ strategy: topk }]", False),
    ("exclude: [{}]", False),
    ("zip: [{ strategy: top_k, reason: why }]", False),
    ("record_plans: all", True),
    ("record_plans: 3", False),
    ("record_plans: some", False),
    ("primary: { world_lambada: loss }", True),
    ("primary: [loss]", False),
    ("split: tune", True),
    ("split: heldout", False),
    ("sample: { count: 1 }", True),
    ("sample: { count: 0 }", False),
    ("probes: [necessary_tokens]", True),
    ("probes: [{ kept_tokens: { bins: 4 } }]", False),
    ("probes: [kept_token]", False),
    ("claim: { expect: a, decide: [{ lower: { strategy: dense }, higher: { strategy: top_k }, margin: 1 }] }", True),
    ("claim: { expect: a, share: some, decide: [{ lower: { seed: 0 }, higher: { seed: 0 }, margin: 1 }] }", False),
    ("claim: { decide: [{ lower: { strategy: dense }, higher: { strategy: top_k }, margin: 1 }] }", False),
]


def sweep(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("sweep")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema as the program prints it."""
    printed = sweep("schema")
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def test_it_is_a_schema_and_the_committed_one(schema: Any) -> None:
    jsonschema.Draft7Validator.check_schema(schema)
    assert json.loads((EXPERIMENTS / "schema.json").read_text()) == schema


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_experiments_are_valid(schema: Any, file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), schema, jsonschema.Draft7Validator)


@pytest.mark.parametrize("lines,accepted", FORMS, ids=[lines for lines, _ in FORMS])
def test_schema_and_program_agree_on_forms(schema: Any, tmp_path: Path, lines: str, accepted: bool) -> None:
    key = lines.split(":")[0]
    kept = [line for line in SMALLEST.splitlines() if not line.startswith(f"{key}:")]
    text = "\n".join([*kept, lines]) + "\n"
    file = tmp_path / "t.yaml"
    file.write_text(text)
    planned = sweep("plan", str(file), "--json")
    assert (planned.returncode == 0) == accepted, planned.stderr
    valid = jsonschema.Draft7Validator(schema).is_valid(yaml.safe_load(text))
    assert valid == accepted
