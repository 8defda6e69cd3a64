"""Small random Falcon-Mamba and Codestral-Mamba checkpoints with the logits that transformers computes from them.

Run with torch, transformers and safetensors installed: `python make_transformers.py`. Everything is float32 on the CPU.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import FalconMambaConfig, FalconMambaForCausalLM, Mamba2Config, Mamba2ForCausalLM

OUT = Path(__file__).resolve().parent.parent
SEED = 20241125
LENGTH, STEPS = 37, 4
VOCABULARY = 61

# Epsilons are large, so that one in the wrong place shows.
SHARED = dict(vocab_size=VOCABULARY, num_hidden_layers=3, layer_norm_epsilon=1e-2, tie_word_embeddings=False)


def models():
    # As in the published file, `expand` is not what the width follows from: `intermediate_size` is.
    falcon = FalconMambaConfig(
        hidden_size=24, intermediate_size=48, expand=16, state_size=5, time_step_rank=3, mixer_rms_eps=2e-2, **SHARED
    )
    # Eight groups of two heads, as in the published file eight groups of sixteen.
    codestral = Mamba2Config(
        hidden_size=32, expand=2, head_dim=4, num_heads=16, n_groups=8, state_size=6, chunk_size=8, **SHARED
    )
    return {"falcon_mamba": FalconMambaForCausalLM(falcon), "codestral_mamba": Mamba2ForCausalLM(codestral)}


def fill(model, generator):
    """Weights that leave no part of the model idle."""

    def normal(like):
        return torch.randn(like.shape, generator=generator)

    for name, weight in sorted(model.named_parameters()):
        if name.endswith("A_log"):
            value = torch.log(1 + 7 * torch.rand(weight.shape, generator=generator))
        elif name.endswith(("dt_bias", "dt_proj.bias")):
            # The inverse softplus of step sizes between 0.001 and 0.1.
            steps = torch.exp(math.log(0.001) + math.log(100) * torch.rand(weight.shape, generator=generator))
            value = steps + torch.log(-torch.expm1(-steps))
        elif "norm" in name or name.endswith(".D"):
            value = 1 + 0.2 * normal(weight)
        elif "embeddings" in name or "lm_head" in name or "conv1d" in name or "dt_proj" in name:
            value = 0.5 * normal(weight)
        else:
            value = normal(weight) / math.sqrt(weight.shape[1])
        weight.copy_(value)


@torch.no_grad()
def main():
    for name, model in models().items():
        generator = torch.Generator().manual_seed(SEED)
        model.eval()
        fill(model, generator)
        folder = OUT / name
        folder.mkdir(exist_ok=True)
        model.config.save_pretrained(folder)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
        tokens = torch.randint(0, VOCABULARY, (2, LENGTH + STEPS), generator=generator)
        inputs = []
        hooks = [layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for layer in model.backbone.layers]
        # One call over all tokens: what a step computes is what the whole sequence has at its place.
        whole = model(tokens, use_cache=False)
        for hook in hooks:
            hook.remove()
        out = {
            "tokens": tokens[:, :LENGTH],
            "logits": whole.logits[:, :LENGTH],
            "decode.tokens": tokens[:, LENGTH:],
            "decode.logits": whole.logits[:, LENGTH:],
        }
        for layer, hidden in enumerate(inputs):
            out[f"layer{layer}.residual"] = hidden[:, :LENGTH]
        save_file({key: value.contiguous().clone() for key, value in out.items()}, folder / "reference.safetensors")


if __name__ == "__main__":
    main()
