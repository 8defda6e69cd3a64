"""Small random checkpoints of mamba_ssm's hybrids and reference values: numpy, float64, one token at a time, written from the
definition (mamba_ssm's `MHA`, `GatedMLP`, `Mamba2`, `Mamba`; `Block` with `fused_add_norm`).

    python make_hybrid.py    # writes ../mha_transformer, ../mha_mamba2 and ../mha_mamba

Shares nothing with the Rust code and uses neither PyTorch nor mamba_ssm, whose modules need a GPU; that the definition is the right
one is held by the trained model, whose stored values come from another program (../../trained).
"""

import json
import math
from pathlib import Path

import numpy as np

from make_neox import rotate, save

ROOT = Path(__file__).resolve().parent.parent
SEED = 20241129
VOCAB, PADDED, D, LENGTH, DECODE = 61, 64, 24, 37, 4
SITE, KEPT = 0, [0, 1, 4, 5, 6, 9, 13, 14, 20, 21, 22, 30, 31, 35, 36]
EPS = 1e-5

COMMON = {"d_model": D, "vocab_size": VOCAB, "rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8, "tie_embeddings": True}
VARIANTS = {
    # Attention in every layer, full rotary, a gated MLP after it: transformerpp-2.7b in small.
    "mha_transformer": COMMON
    | {
        "n_layer": 3,
        "d_intermediate": 40,
        "ssm_cfg": {},
        "attn_layer_idx": [0, 1, 2],
        "attn_cfg": {"causal": True, "d_conv": 0, "head_dim": 8, "num_heads": 3, "out_proj_bias": False, "qkv_proj_bias": False, "rotary_emb_dim": 8},
        "tie_embeddings": False,
    },
    # Everything at once: heads wider than the model, shared keys and values, convolution, partial rotary, biases, MLPs beside
    # and after the heads.
    "mha_mamba2": COMMON
    | {
        "n_layer": 4,
        "d_intermediate": 100,
        "ssm_cfg": {"layer": "Mamba2", "d_state": 6, "headdim": 8, "ngroups": 2, "chunk_size": 16},
        "attn_layer_idx": [2, 1],
        "attn_cfg": {"causal": True, "d_conv": 4, "head_dim": 10, "num_heads": 4, "num_heads_kv": 2, "mlp_dim": 20, "rotary_emb_dim": 4, "rotary_emb_base": 500.0},
    },
    # No positions, one head of keys and values, no convolution, an MLP beside the heads alone.
    "mha_mamba": COMMON
    | {
        "n_layer": 3,
        "ssm_cfg": {"d_state": 5},
        "attn_layer_idx": [1],
        "attn_cfg": {"causal": True, "num_heads": 4, "num_heads_kv": 1, "mlp_dim": 256, "out_proj_bias": False},
    },
}


class Sizes:
    def __init__(self, config):
        attn, ssm = config["attn_cfg"], config["ssm_cfg"]
        self.heads = attn["num_heads"]
        self.kv = attn.get("num_heads_kv") or self.heads
        self.dim = attn.get("head_dim") or D // self.heads
        self.qkv = (self.heads + 2 * self.kv) * self.dim
        self.beside = math.ceil(attn.get("mlp_dim", 0) / 256) * 256
        self.conv = attn.get("d_conv", 0)
        self.rotary, self.base = attn.get("rotary_emb_dim", 0), attn.get("rotary_emb_base", 10000.0)
        self.after = math.ceil(config.get("d_intermediate", 0) / 128) * 128
        self.mamba2 = ssm.get("layer") == "Mamba2"
        self.inner, self.state = 2 * D, ssm.get("d_state", 16)
        self.headdim, self.groups = ssm.get("headdim", 64), ssm.get("ngroups", 1)
        self.rank = math.ceil(D / 16)


def make_weights(config, rng):
    """Larger than at the start of training, so that attention is far from uniform and biases matter."""
    s, weights = Sizes(config), {}

    def add(name, *shape, centre=0.0, spread=None):
        spread = spread or 1.0 / math.sqrt(shape[-1])
        weights[name] = (centre + spread * rng.standard_normal(shape)).astype(np.float32)

    add("backbone.embedding.weight", PADDED, D, spread=1.0)
    for layer in range(config["n_layer"]):
        p = f"backbone.layers.{layer}"
        add(f"{p}.norm.weight", D, centre=1.0, spread=0.2)
        m = f"{p}.mixer"
        if layer in config["attn_layer_idx"]:
            attn = config["attn_cfg"]
            add(f"{m}.in_proj.weight", s.qkv + s.beside, D, spread=1.6 / math.sqrt(D))
            add(f"{m}.out_proj.weight", D, s.heads * s.dim + s.beside // 2)
            if attn.get("qkv_proj_bias", True):
                add(f"{m}.in_proj.bias", s.qkv + s.beside, spread=0.3)
            if attn.get("out_proj_bias", True):
                add(f"{m}.out_proj.bias", D, spread=0.3)
            if s.conv:
                add(f"{m}.conv1d.weight", s.qkv, 1, s.conv, spread=0.6)
                add(f"{m}.conv1d.bias", s.qkv, spread=0.3)
        elif s.mamba2:
            conv, heads = s.inner + 2 * s.groups * s.state, s.inner // s.headdim
            add(f"{m}.in_proj.weight", s.inner + conv + heads, D)
            add(f"{m}.conv1d.weight", conv, 1, 4, spread=0.6)
            add(f"{m}.conv1d.bias", conv, spread=0.3)
            add(f"{m}.dt_bias", heads, centre=-1.0, spread=1.0)
            add(f"{m}.A_log", heads, spread=0.7)
            add(f"{m}.D", heads, centre=1.0, spread=0.3)
            add(f"{m}.norm.weight", s.inner, centre=1.0, spread=0.2)
            add(f"{m}.out_proj.weight", D, s.inner)
        else:
            add(f"{m}.in_proj.weight", 2 * s.inner, D)
            add(f"{m}.conv1d.weight", s.inner, 1, 4, spread=0.6)
            add(f"{m}.conv1d.bias", s.inner, spread=0.3)
            add(f"{m}.x_proj.weight", s.rank + 2 * s.state, s.inner)
            add(f"{m}.dt_proj.weight", s.inner, s.rank)
            add(f"{m}.dt_proj.bias", s.inner, centre=-1.0, spread=1.0)
            add(f"{m}.A_log", s.inner, s.state, spread=0.7)
            add(f"{m}.D", s.inner, centre=1.0, spread=0.3)
            add(f"{m}.out_proj.weight", D, s.inner)
        if s.after:
            add(f"{p}.norm2.weight", D, centre=1.0, spread=0.2)
            add(f"{p}.mlp.fc1.weight", 2 * s.after, D)
            add(f"{p}.mlp.fc2.weight", D, s.after)
    add("backbone.norm_f.weight", D, centre=1.0, spread=0.2)
    if not config["tie_embeddings"]:
        add("lm_head.weight", PADDED, D)
    return weights


def rms(x, weight):
    return x / np.sqrt((x * x).mean() + EPS) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def linear(x, w, name):
    y = w[f"{name}.weight"] @ x
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def convolution(xs, w, name):
    """Every row with the three before it, channel by channel."""
    taps, zero = w[f"{name}.weight"][:, 0], np.zeros_like(xs[0])
    padded = [zero] * (taps.shape[1] - 1) + xs
    return [w[f"{name}.bias"] + sum(taps[:, k] * padded[t + k] for k in range(taps.shape[1])) for t in range(len(xs))]


def attention(xs, positions, w, m, s):
    """Outputs of the mixer, and what its heads gathered."""
    projected = [linear(x, w, f"{m}.in_proj") for x in xs]
    qkv = [row[: s.qkv] for row in projected]
    if s.conv:
        qkv = convolution(qkv, w, f"{m}.conv1d")
    keys, values, outputs, gathered = [], [], [], []
    for row, whole, position in zip(qkv, projected, positions):
        heads = row.reshape(-1, s.dim)
        turned = [rotate(head, position, s.rotary, s.base) for head in heads[: s.heads + s.kv]]
        keys.append(turned[s.heads :])
        values.append(heads[s.heads + s.kv :])
        means = []
        for h in range(s.heads):
            shared = h // (s.heads // s.kv)
            scores = np.array([turned[h] @ key[shared] for key in keys]) / math.sqrt(s.dim)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            means.append(sum(share * value[shared] for share, value in zip(shares, values)))
        y = np.concatenate(means)
        gathered.append(y)
        if s.beside:
            value, gate = np.split(whole[s.qkv :], 2)
            y = np.concatenate([y, value * silu(gate)])
        outputs.append(linear(y, w, f"{m}.out_proj"))
    return outputs, gathered


def mamba2(xs, w, m, s):
    conv_dim, heads = s.inner + 2 * s.groups * s.state, s.inner // s.headdim
    projected = [linear(x, w, f"{m}.in_proj") for x in xs]
    conv = [silu(row) for row in convolution([row[s.inner : s.inner + conv_dim] for row in projected], w, f"{m}.conv1d")]
    state = np.zeros((heads, s.headdim, s.state))
    outputs, gathered = [], []
    for row, xbc in zip(projected, conv):
        z, dt = row[: s.inner], np.logaddexp(0, row[s.inner + conv_dim :] + w[f"{m}.dt_bias"])
        x = xbc[: s.inner].reshape(heads, s.headdim)
        b, c = xbc[s.inner :].reshape(2, s.groups, s.state)
        y = np.zeros((heads, s.headdim))
        for h in range(heads):
            g = h // (heads // s.groups)
            state[h] = np.exp(-dt[h] * np.exp(w[f"{m}.A_log"][h])) * state[h] + dt[h] * np.outer(x[h], b[g])
            y[h] = state[h] @ c[g] + w[f"{m}.D"][h] * x[h]
        y = y.reshape(-1)
        gathered.append(y)
        gated = (y * silu(z)).reshape(s.groups, -1)
        normed = (gated / np.sqrt((gated**2).mean(1, keepdims=True) + EPS)).reshape(-1) * w[f"{m}.norm.weight"]
        outputs.append(linear(normed, w, f"{m}.out_proj"))
    return outputs, gathered


def mamba(xs, w, m, s):
    projected = [linear(x, w, f"{m}.in_proj") for x in xs]
    conv = [silu(row) for row in convolution([row[: s.inner] for row in projected], w, f"{m}.conv1d")]
    decay, state = -np.exp(w[f"{m}.A_log"]), np.zeros((s.inner, s.state))
    outputs, gathered = [], []
    for row, x in zip(projected, conv):
        low, b, c = np.split(w[f"{m}.x_proj.weight"] @ x, [s.rank, s.rank + s.state])
        dt = np.logaddexp(0, linear(low, w, f"{m}.dt_proj"))[:, None]
        state = np.exp(dt * decay) * state + dt * x[:, None] * b
        y = state @ c + w[f"{m}.D"] * x
        gathered.append(y)
        outputs.append(linear(y * silu(row[s.inner :]), w, f"{m}.out_proj"))
    return outputs, gathered


def forward(tokens, w, config, kept=None, compacted=False):
    """Logits of every row, and per layer what the block added, its input, and what its mixer gathered before gate and projection."""
    s = Sizes(config)
    xs = [w["backbone.embedding.weight"][token] for token in tokens]
    positions = list(range(len(tokens)))
    layers = []
    for layer in range(config["n_layer"]):
        p = f"backbone.layers.{layer}"
        normed = [rms(x, w[f"{p}.norm.weight"]) for x in xs]
        if layer in config["attn_layer_idx"]:
            added, gathered = attention(normed, positions, w, f"{p}.mixer", s)
        else:
            added, gathered = (mamba2 if s.mamba2 else mamba)(normed, w, f"{p}.mixer", s)
        if s.after:
            for row, x in enumerate(xs):
                up = linear(rms(x + added[row], w[f"{p}.norm2.weight"]), w, f"{p}.mlp.fc1")
                value, gate = np.split(up, 2)
                added[row] = added[row] + linear(value * silu(gate), w, f"{p}.mlp.fc2")
        layers.append((np.array(added), np.array(xs), np.array(gathered)))
        xs = [x + a for x, a in zip(xs, added)]
        if layer == SITE and kept is not None:
            xs = [xs[row] for row in kept]
            positions = list(range(len(kept))) if compacted else [positions[row] for row in kept]
    head = w["backbone.embedding.weight"] if config["tie_embeddings"] else w["lm_head.weight"]
    return np.array([head @ rms(x, w["backbone.norm_f.weight"]) for x in xs]), layers


def main():
    for index, (name, config) in enumerate(VARIANTS.items()):
        rng = np.random.default_rng(SEED + index)
        weights = make_weights(config, rng)
        folder = ROOT / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        stored = dict(weights)
        if config["tie_embeddings"]:
            stored["lm_head.weight"] = weights["backbone.embedding.weight"]  # as mamba_ssm stores it
        save(folder / "model.safetensors", stored)

        w = {key: value.astype(np.float64) for key, value in weights.items()}
        tokens = rng.integers(0, VOCAB, (2, LENGTH + DECODE))
        out = {"tokens": tokens[:, :LENGTH], "decode.tokens": tokens[:, LENGTH:]}
        whole = [forward(row, w, config) for row in tokens]
        out["logits"] = np.array([logits[:LENGTH] for logits, _ in whole])
        out["decode.logits"] = np.array([logits[LENGTH:] for logits, _ in whole])
        for layer in range(config["n_layer"]):
            for part, what in enumerate(("block_out", "residual", "ssm_output")):
                out[f"layer{layer}.{what}"] = np.array([layers[layer][part][:LENGTH] for _, layers in whole])
        out["kept"] = np.array(KEPT)
        first = tokens[0, :LENGTH]
        out["logits.kept.original"] = forward(first, w, config, KEPT)[0]
        out["logits.kept.compacted"] = forward(first, w, config, KEPT, compacted=True)[0]
        whole_number = lambda array: np.issubdtype(array.dtype, np.integer)
        out = {k: v.astype(np.int64 if whole_number(v) else np.float32) for k, v in out.items()}
        save(folder / "reference.safetensors", out)
        print(name, {k: (v.shape, float(np.abs(v).max())) for k, v in out.items() if "logits" in k})


if __name__ == "__main__":
    main()
