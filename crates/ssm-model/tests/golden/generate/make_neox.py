"""Small random GPT-NeoX checkpoints and reference values: numpy, float64, one token at a time, written from the definition.

    python make_neox.py    # writes ../neox_parallel and ../neox_sequential

Shares nothing with the Rust code and uses neither PyTorch nor transformers; that the definition is the right one is held
by the trained model, whose stored values come from transformers (../../trained).
"""

import json
import math
import struct
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SEED = 20241124
VOCAB, D, LAYERS, HEADS, MLP, LENGTH, DECODE = 61, 24, 3, 3, 40, 37, 4
SITE, KEPT = 0, [0, 1, 4, 5, 6, 9, 13, 14, 20, 21, 22, 30, 31, 35, 36]

COMMON = {
    "architectures": ["GPTNeoXForCausalLM"],
    "model_type": "gpt_neox",
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": MLP,
    "vocab_size": VOCAB,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 64,
    "torch_dtype": "float32",
}
# The keys of newer and of older versions of transformers.
VARIANTS = {
    "neox_parallel": COMMON
    | {
        "hidden_act": "gelu",
        "use_parallel_residual": True,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default"},
    },
    "neox_sequential": COMMON
    | {
        "hidden_act": "gelu_fast",
        "use_parallel_residual": False,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "rotary_pct": 0.25,
        "rotary_emb_base": 500,
        "rope_scaling": None,
    },
}


def make_weights(config, rng):
    """Larger than at the start of training, so that attention is far from uniform and biases matter."""
    weights = {}

    def add(name, *shape, centre=0.0, spread=None):
        spread = spread or 1.6 / math.sqrt(shape[-1])
        weights[name] = (centre + spread * rng.standard_normal(shape)).astype(np.float32)

    add("gpt_neox.embed_in.weight", VOCAB, D, spread=1.0)
    for layer in range(LAYERS):
        p = f"gpt_neox.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            add(f"{p}.{norm}.weight", D, centre=1.0, spread=0.2)
            add(f"{p}.{norm}.bias", D, spread=0.2)
        add(f"{p}.attention.query_key_value.weight", 3 * D, D)
        add(f"{p}.attention.dense.weight", D, D)
        if config["attention_bias"]:
            add(f"{p}.attention.query_key_value.bias", 3 * D, spread=0.3)
            add(f"{p}.attention.dense.bias", D, spread=0.3)
        add(f"{p}.mlp.dense_h_to_4h.weight", MLP, D)
        add(f"{p}.mlp.dense_h_to_4h.bias", MLP, spread=0.3)
        add(f"{p}.mlp.dense_4h_to_h.weight", D, MLP)
        add(f"{p}.mlp.dense_4h_to_h.bias", D, spread=0.3)
    add("gpt_neox.final_layer_norm.weight", D, centre=1.0, spread=0.2)
    add("gpt_neox.final_layer_norm.bias", D, spread=0.2)
    if not config["tie_word_embeddings"]:
        add("embed_out.weight", VOCAB, D)
    return weights


def layer_norm(x, w, name):
    mean = x.mean()
    return (x - mean) / math.sqrt(((x - mean) ** 2).mean() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x, w, name):
    y = w[f"{name}.weight"] @ x
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def gelu(x, kind):
    if kind == "gelu":
        return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotate(x, position, dim, base):
    """Pairs (i, i + dim/2) as complex numbers."""
    half = dim // 2
    turned = (x[:half] + 1j * x[half:dim]) * np.exp(1j * position * base ** (-2.0 * np.arange(half) / dim))
    return np.concatenate([turned.real, turned.imag, x[dim:]])


def block(xs, positions, w, config, layer):
    """What the block adds to every row, and what its attention gathered."""
    p = f"gpt_neox.layers.{layer}"
    rope = config.get("rope_parameters", {})
    share = rope.get("partial_rotary_factor", config.get("rotary_pct"))
    base = float(rope.get("rope_theta", config.get("rotary_emb_base")))
    head_dim = D // HEADS
    dim = int(head_dim * share)
    keys, values, added, gathered = [], [], [], []
    for x, position in zip(xs, positions):
        fused = linear(layer_norm(x, w, f"{p}.input_layernorm"), w, f"{p}.attention.query_key_value")
        fused = fused.reshape(HEADS, 3, head_dim)
        queries = [rotate(fused[h, 0], position, dim, base) for h in range(HEADS)]
        keys.append([rotate(fused[h, 1], position, dim, base) for h in range(HEADS)])
        values.append(fused[:, 2])
        heads = []
        for h in range(HEADS):
            scores = np.array([queries[h] @ key[h] for key in keys]) / math.sqrt(head_dim)
            share_of = np.exp(scores - scores.max())
            share_of /= share_of.sum()
            heads.append(sum(s * value[h] for s, value in zip(share_of, values)))
        y = np.concatenate(heads)
        attention = linear(y, w, f"{p}.attention.dense")
        mlp_in = x if config["use_parallel_residual"] else x + attention
        up = linear(layer_norm(mlp_in, w, f"{p}.post_attention_layernorm"), w, f"{p}.mlp.dense_h_to_4h")
        added.append(attention + linear(gelu(up, config["hidden_act"]), w, f"{p}.mlp.dense_4h_to_h"))
        gathered.append(y)
    return added, gathered


def forward(tokens, w, config, kept=None, compacted=False):
    """Logits of every row, and per layer what the block added, its input, and what the attention gathered."""
    xs = [w["gpt_neox.embed_in.weight"][token] for token in tokens]
    positions = list(range(len(tokens)))
    layers = []
    for layer in range(LAYERS):
        added, gathered = block(xs, positions, w, config, layer)
        layers.append((np.array(added), np.array(xs), np.array(gathered)))
        xs = [x + a for x, a in zip(xs, added)]
        if layer == SITE and kept is not None:
            xs = [xs[row] for row in kept]
            positions = list(range(len(kept))) if compacted else [positions[row] for row in kept]
    head = w["gpt_neox.embed_in.weight"] if config["tie_word_embeddings"] else w["embed_out.weight"]
    return np.array([head @ layer_norm(x, w, "gpt_neox.final_layer_norm") for x in xs]), layers


DTYPES = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64", np.dtype(np.uint8): "U8"}


def save(path, tensors):
    header, data = {}, b""
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        raw = np.ascontiguousarray(tensors[name]).tobytes()
        span = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": DTYPES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": span}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    for index, (name, config) in enumerate(VARIANTS.items()):
        rng = np.random.default_rng(SEED + index)
        weights = make_weights(config, rng)
        folder = ROOT / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        stored = dict(weights)
        if name == "neox_sequential":
            # What old checkpoints hold besides weights, and a tied head stored twice.
            stored["embed_out.weight"] = weights["gpt_neox.embed_in.weight"]
            for layer in range(LAYERS):
                p = f"gpt_neox.layers.{layer}.attention"
                stored[f"{p}.bias"] = np.tril(np.ones((1, 1, 8, 8), dtype=np.uint8))
                stored[f"{p}.masked_bias"] = np.array(-1e9, dtype=np.float32)
                stored[f"{p}.rotary_emb.inv_freq"] = np.ones(1, dtype=np.float32)
        save(folder / "model.safetensors", stored)

        w = {key: value.astype(np.float64) for key, value in weights.items()}
        tokens = rng.integers(0, VOCAB, (2, LENGTH + DECODE))
        out = {"tokens": tokens[:, :LENGTH], "decode.tokens": tokens[:, LENGTH:]}
        whole = [forward(row, w, config) for row in tokens]
        out["logits"] = np.array([logits[:LENGTH] for logits, _ in whole])
        out["decode.logits"] = np.array([logits[LENGTH:] for logits, _ in whole])
        for layer in range(LAYERS):
            for part, what in enumerate(("block_out", "residual", "ssm_output")):
                out[f"layer{layer}.{what}"] = np.array([layers[layer][part][:LENGTH] for _, layers in whole])
        out["kept"] = np.array(KEPT)
        first = tokens[0, :LENGTH]
        out["logits.kept.original"] = forward(first, w, config, KEPT)[0]
        out["logits.kept.compacted"] = forward(first, w, config, KEPT, compacted=True)[0]
        whole_number = lambda array: np.issubdtype(array.dtype, np.integer)
        out = {k: v.astype(np.int64 if whole_number(v) else np.float32) for k, v in out.items()}
        save(folder / "reference.safetensors", out)


if __name__ == "__main__":
    main()
