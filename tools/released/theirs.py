"""Runs the released evaluation of Zhan et al. with none of its files changed.

The release needs CUDA and Triton for the kernels of `mamba_ssm`, and two compiled extensions. On a GPU the Triton kernels (both
norms and the state-space dual) are those of `mamba_ssm` 2.0.3, and an extension that is not installed (`causal_conv1d`,
`selective_scan_cuda`) is replaced by a plain PyTorch function. On a CPU all those kernels are replaced by the functions that
`mamba_ssm` publishes next to them as references. Reduction, batching, padding, slicing and scoring are the release's own code.
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

RELEASE = "2e9fc6260e195a264c80e150868d60a45fb5ae3e"
# The release asks for mamba_ssm 2.0.1, which lacks `ops/triton/k_activations.py` and so fails to import; 2.0.3 adds it and nothing else.
MAMBA = "v2.0.3"
# What lm-eval imports for other tasks and metrics. `evaluate` is replaced even if installed: importing lm-eval downloads a metric with it.
UNUSED = {
    "datasets": {"__version__": "2.16.0", "Dataset": object, "load_metric": None},
    "sacrebleu": {},
    "sklearn": {},
    "sklearn.metrics": {},
    "sqlitedict": {"SqliteDict": object},
}


def module(name: str, **members) -> types.ModuleType:
    """A module that exists only in memory."""
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    made.__dict__.update(members)
    sys.modules[name] = made
    return made


def unchanged(checkout: Path, revision: str) -> None:
    """Refuses a checkout of another commit, or one with an edited or added file."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", checkout, *words], check=True, capture_output=True, text=True).stdout.strip()

    if git("rev-parse", "HEAD") != git("rev-parse", f"{revision}^{{commit}}"):
        sys.exit(f"{checkout} is not at {revision}: git -C {checkout} checkout {revision}")
    if edits := git("status", "--porcelain", "--untracked-files=all", "--", "*.py"):
        sys.exit(f"{checkout} differs from {revision}:\n{edits}")


def installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def same(function=None, **_):
    """Stands for a decorator of Triton."""
    return function


def convolve(x, weight, bias=None, activation=None, **_):
    """The causal convolution of `causal_conv1d`: float32 inside, rounded once, in the memory layout of `x`. Shapes: x [batch, channels,
    length], weight [channels, width]."""
    channels, width = weight.shape
    bias = None if bias is None else bias.float()
    out = F.conv1d(x.float(), weight.float().unsqueeze(1), bias, padding=width - 1, groups=channels)[..., : x.shape[-1]]
    return torch.empty_like(x).copy_(out if activation is None else F.silu(out))


def use_kernels(mamba: Path, dot: str) -> list[str]:
    """Makes `mamba_ssm` importable with its Triton kernels, stands in for extensions that are not installed, and returns the names of
    those. `dot` is the precision of products of float32 inside the kernels."""
    os.environ["TRITON_F32_DEFAULT"] = dot
    from triton.language import math

    if not hasattr(math, "log1p"):
        # Triton 3 moved the one function of Triton 2 that these kernels miss.
        from triton.language.extra.cuda import libdevice

        math.log1p = libdevice.log1p
    replaced = []
    if not installed("causal_conv1d_cuda"):
        replaced += ["causal_conv1d"]

        def forward(x, weight, bias, seq_idx, initial_states, final_states_out, silu):
            assert seq_idx is initial_states is final_states_out is None
            return convolve(x, weight, bias, "silu" if silu else None)

        module("causal_conv1d_cuda", causal_conv1d_fwd=forward)
        module("causal_conv1d", causal_conv1d_fn=convolve, causal_conv1d_update=None)
        # Full float32, as in the kernel that this stands for.
        torch.backends.cudnn.allow_tf32 = False
    if not installed("selective_scan_cuda"):
        replaced += ["selective_scan_cuda"]

        def scan(*given):
            """What the forward pass uses of the results: the first is kept for a backward pass, the last one is gated."""
            out = interface.selective_scan_ref(*given)
            return out, None, out

        module("selective_scan_cuda", fwd=scan)
    sys.path.insert(0, str(mamba))
    from mamba_ssm.ops import selective_scan_interface as interface

    return replaced


def replace_kernels(mamba: Path) -> None:
    """Makes `mamba_ssm` importable without a GPU and points its kernels at its own references."""
    # Newer torch asks for `dtype`.
    language = module("triton.language", constexpr=object, dtype=type("dtype", (), {}))
    module(
        "triton",
        __version__="2.2.0",
        language=language,
        jit=same,
        autotune=lambda *_, **__: same,
        heuristics=lambda *_, **__: same,
        Config=lambda *_, **__: None,
    )
    module("selective_scan_cuda")
    module("causal_conv1d_cuda")
    module("causal_conv1d", causal_conv1d_fn=convolve, causal_conv1d_update=None)
    sys.path.insert(0, str(mamba))
    from mamba_ssm.models import mixer_seq_simple
    from mamba_ssm.modules import block, mamba2, mamba_simple
    from mamba_ssm.ops import selective_scan_interface as scan
    from mamba_ssm.ops.triton import layer_norm, layernorm_gated, ssd_combined

    # Everything is float32, so `residual_in_fp32` changes nothing.
    def norm(x, weight, bias, residual=None, prenorm=False, eps=1e-6, residual_in_fp32=False, is_rms_norm=False):
        assert is_rms_norm and x.dtype == torch.float32
        return layer_norm.rms_norm_ref(x, weight, bias, residual=residual, prenorm=prenorm, eps=eps, upcast=True)

    def scan_in_one_chunk(x, dt, A, B, C, dt_limit=(0.0, float("inf")), **named):
        assert dt_limit == (0.0, float("inf"))
        return ssd_combined.ssd_chunk_scan_combined_ref(x, dt, A, B, C, chunk_size=x.shape[1], **named)

    def mix(*given, seq_idx=None, **named):
        assert seq_idx is None
        return ssd_combined.mamba_split_conv1d_scan_ref(*given, **named)

    mixer_seq_simple.layer_norm_fn = block.layer_norm_fn = norm
    scan.selective_scan_fn = scan.selective_scan_ref
    mamba_simple.mamba_inner_fn = scan.mamba_inner_ref
    ssd_combined.ssd_selective_scan = scan_in_one_chunk
    ssd_combined.rmsnorm_fn = layernorm_gated.rms_norm_ref
    mamba2.mamba_split_conv1d_scan_combined = mix


class Release:
    """The release's model class for lm-eval, `MambaEvalWrapper`."""

    def __init__(self, release: Path, mamba: Path, device: str = "cpu", dtype: str = "float32", dot: str = "ieee"):
        unchanged(release, RELEASE)
        unchanged(mamba, MAMBA)
        self.device, self.dtype = device, getattr(torch, dtype)
        self.setting = {"mamba_ssm": MAMBA, "torch": torch.__version__, "device": device, "dtype": dtype}
        if device == "cpu":
            replace_kernels(mamba)
        else:
            import triton

            replaced = use_kernels(mamba, dot)
            self.setting |= {"triton": triton.__version__, "gpu": torch.cuda.get_device_name(), "dot": dot, "replaced": replaced}
        module("evaluate", load=lambda name: None)
        missing = [name for name in UNUSED if not installed(name.split(".")[0])]
        for name in missing:
            module(name, **UNUSED[name])
        sys.path.insert(0, str(release / "src"))
        import mamba_eval

        self.module = mamba_eval

    def wrapper(self, model: Path, strategy: tuple[str, str] | None, keep_ratio: float, sites: list[int], batch: int):
        """The wrapper around a checkpoint; `strategy` names what to do on hidden states and on the residual stream."""
        # The release names the tokenizer of the published checkpoints. This one belongs to `model`.
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(model / "tokenizer.json"),
            **{name: value for name, value in json.loads((model / "tokenizer_config.json").read_text()).items() if name.endswith("_token")},
        )
        self.module.AutoTokenizer = types.SimpleNamespace(from_pretrained=lambda name: tokenizer)
        hidden, residual = strategy or ("hybrid", "merge_only")
        return self.module.MambaEvalWrapper(
            pretrained=str(model),
            batch_size=batch,
            device=self.device,
            hidden_state_strategy=hidden,
            residual_strategy=residual,
            reduce_ratio=keep_ratio if strategy else 1,
            reduce_anchor="-".join(map(str, sites)) or "0",
            dtype=self.dtype,
        )

    def score(self, wrapper, pairs: list[tuple[str, str]]):
        """Log-likelihood and exact match of each pair of context and continuation, the tokens that each site kept of it (`kept[pair]`
        lists, site by site, places in the padded input), and its place in the order of evaluation. Pairs of one call share batches."""
        from lm_eval.api.instance import Instance
        from lm_eval.utils import Reorderer

        batches: list[list[list[list[int] | None]]] = []
        handles = [
            layer.register_forward_hook(lambda layer, given, made: watch(batches[-1], layer, given[0], made[0]))
            for layer in wrapper.model.backbone.layers
            if hasattr(layer, "residual_strategy")
        ]
        begin = lambda _, given: batches.append([[] for _ in given[0]])
        handles.append(wrapper.model.backbone.register_forward_pre_hook(begin))
        requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
        try:
            answers = wrapper.loglikelihood(requests)
        finally:
            for handle in handles:
                handle.remove()
        sorted_pairs = Reorderer([wrapper._encode_pair(*pair) for pair in pairs], order)
        kept = sorted_pairs.get_original([row for batch in batches for row in batch])
        return answers, kept, sorted_pairs.get_original(list(range(len(pairs))))


def order(pair: tuple[list[int], list[int]]):
    """What the release sorts pairs of tokens by."""
    tokens = pair[0] + pair[1]
    return -len(tokens), tuple(tokens)


def watch(rows, layer, before, after) -> None:
    """Notes which tokens a site kept of each row. The release leaves its mask on the layer, except where nothing is removed. In that
    mask a kept token with a zero among its values looks like a removed one; what was kept of such a row stays unknown."""
    keep = torch.ones(before.shape[:2], dtype=torch.bool)
    if after.shape[1] < before.shape[1]:
        keep = layer.score_mask[..., 0] != 0
        keep = ~keep if layer.residual_strategy == "evit" else keep
    for row, stays in zip(rows, keep.tolist(), strict=True):
        places = row[-1] if row else range(len(stays))
        known = places is not None and sum(stays) == after.shape[1]
        row.append([place for place, kept in zip(places, stays, strict=True) if kept] if known else None)
