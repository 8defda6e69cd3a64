"""Small random checkpoints of hybrid architectures with the logits that transformers computes from them.

Run with torch, transformers 5.17 and safetensors installed: `python make_hybrids.py [FOLDER]`. Everything is float32 on the CPU. Every
multiplier, bias and epsilon differs from its default, so that one that is not read, or in the wrong place, shows.
"""

import math
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
SEED = 20241129
LENGTH, STEPS = 37, 4
VOCABULARY = 61
SHARED = dict(vocab_size=VOCABULARY, hidden_size=32, rms_norm_eps=1e-2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MAMBA2 = dict(mamba_n_heads=8, mamba_d_head=8, mamba_d_state=6, mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=8)


def rope(theta, **more):
    return {"rope_type": "default", "rope_theta": theta} | more


def models():
    t = transformers
    granite = dict(
        num_hidden_layers=4,
        layer_types=["mamba", "attention", "mamba", "attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        shared_intermediate_size=40,
        num_local_experts=0,
        num_experts_per_tok=0,
        embedding_multiplier=3.0,
        attention_multiplier=0.3,
        residual_multiplier=0.7,
        logits_scaling=1.7,
        mamba_n_groups=2,
        tie_word_embeddings=True,
        **SHARED,
        **MAMBA2,
    )
    yield "granite_hybrid_nope", t.GraniteMoeHybridForCausalLM, t.GraniteMoeHybridConfig(position_embedding_type="nope", **granite)
    yield (
        "granite_hybrid_rope",
        t.GraniteMoeHybridForCausalLM,
        t.GraniteMoeHybridConfig(position_embedding_type="rope", rope_parameters=rope(700.0), attention_bias=True, mamba_proj_bias=True, **granite),
    )
    yield (
        "bamba",
        t.BambaForCausalLM,
        t.BambaConfig(
            num_hidden_layers=3,
            attn_layer_indices=[1],
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=40,
            mamba_n_groups=1,
            rope_parameters=rope(900.0, partial_rotary_factor=0.5),
            tie_word_embeddings=False,
            **SHARED,
            **MAMBA2,
        ),
    )
    nemotron = {key: value for key, value in SHARED.items() if key != "rms_norm_eps"}
    yield (
        "nemotron_h",
        t.NemotronHForCausalLM,
        t.NemotronHConfig(
            layers_block_type=["mamba", "mlp", "attention", "mlp", "mamba"],
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=12,
            intermediate_size=40,
            ssm_state_size=6,
            mamba_num_heads=10,
            mamba_head_dim=8,
            n_groups=2,
            chunk_size=8,
            layer_norm_epsilon=1e-2,
            tie_word_embeddings=False,
            **nemotron,
        ),
    )
    falcon = dict(
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=40,
        mamba_d_ssm=48,
        mamba_n_groups=2,
        rope_parameters=rope(1100.0),
        lm_head_multiplier=0.6,
        embedding_multiplier=2.5,
        mlp_multipliers=[0.8, 0.9],
        key_multiplier=0.7,
        attention_out_multiplier=1.3,
        attention_in_multiplier=0.9,
        ssm_multipliers=[0.7, 1.2, 0.8, 1.4, 0.9],
        ssm_in_multiplier=1.1,
        ssm_out_multiplier=0.75,
        tie_word_embeddings=False,
        **SHARED,
    )
    heads = MAMBA2 | dict(mamba_n_heads=6)
    yield "falcon_h1", t.FalconH1ForCausalLM, t.FalconH1Config(mamba_rms_norm=False, **falcon, **heads)
    yield (
        "falcon_h1_norm",
        t.FalconH1ForCausalLM,
        t.FalconH1Config(mamba_rms_norm=True, mamba_norm_before_gate=False, projectors_bias=True, attention_bias=True, mlp_bias=True, **falcon, **heads),
    )
    zamba2 = dict(
        num_hidden_layers=5,
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid", "hybrid"],
        mamba_d_state=6,
        n_mamba_heads=8,
        mamba_ngroups=2,
        chunk_size=8,
        intermediate_size=40,
        num_attention_heads=4,
        tie_word_embeddings=True,
        **SHARED,
    )
    yield (
        "zamba2_rope",
        t.Zamba2ForCausalLM,
        t.Zamba2Config(num_mem_blocks=1, use_mem_rope=True, rope_parameters=rope(800.0), use_shared_attention_adapter=False, adapter_rank=4, **zamba2),
    )
    yield (
        "zamba2_adapters",
        t.Zamba2ForCausalLM,
        t.Zamba2Config(num_mem_blocks=2, use_mem_rope=False, use_shared_attention_adapter=True, adapter_rank=4, **zamba2),
    )
    yield (
        "jamba_dense",
        t.JambaForCausalLM,
        t.JambaConfig(
            num_hidden_layers=4,
            attn_layer_period=3,
            attn_layer_offset=1,
            num_experts=1,
            num_experts_per_tok=1,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=40,
            mamba_d_state=5,
            mamba_dt_rank=3,
            use_mamba_kernels=False,
            tie_word_embeddings=False,
            **SHARED,
        ),
    )


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
        elif name.endswith("bias"):
            value = 0.3 * normal(weight)
        elif "embed_tokens" in name or "embeddings" in name or "lm_head" in name or "conv1d" in name or "dt_proj" in name:
            value = 0.5 * normal(weight)
        else:
            # A block without residuals of its own multiplies errors of rounding: with 1.3, two runs of upstream differ by 3e-4.
            scale = 0.8 if "shared_transformer" in name else 1.3
            value = scale * normal(weight) / math.sqrt(weight.shape[1])
        weight.copy_(value)


def layers_of(model):
    return getattr(model, "model", None) or getattr(model, "backbone")


@torch.no_grad()
def main():
    for name, kind, config in models():
        generator = torch.Generator().manual_seed(SEED)
        config._attn_implementation = "eager"
        model = kind(config).eval()
        fill(model, generator)
        folder = OUT / name
        folder.mkdir(exist_ok=True, parents=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        tokens = torch.randint(0, VOCABULARY, (2, LENGTH + STEPS), generator=generator)
        inputs = []

        def remember(_, args, kwargs):
            inputs.append(args[0] if args else kwargs["hidden_states"])

        hooks = [layer.register_forward_pre_hook(remember, with_kwargs=True) for layer in layers_of(model).layers]
        # One call over all tokens: what a step computes is what the whole sequence has at its place.
        whole = model(tokens, use_cache=False, logits_to_keep=0)
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
        print(name, tuple(whole.logits.shape), f"std {float(whole.logits.std()):.3f}", len(inputs), sum(p.numel() for p in model.parameters()))


if __name__ == "__main__":
    main()
