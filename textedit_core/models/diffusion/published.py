"""The configurations of the published models of each family, for files that hold weights alone."""

from __future__ import annotations

from typing import Any

_UNET = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}
_FOUR_LEVELS = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
_TEXT_L = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
# Family -> part -> its configuration, as in the repositories of Stability AI and Runway.
CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "sd1": {
        "unet": _UNET
        | _FOUR_LEVELS
        | {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": _VAE | {"sample_size": 512, "scaling_factor": 0.18215},
        "text_encoder": _TEXT_L,
    },
    "sd2": {
        "unet": _UNET
        | _FOUR_LEVELS
        | {
            "sample_size": 64,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
        "vae": _VAE | {"sample_size": 512, "scaling_factor": 0.18215},
        "text_encoder": _TEXT_L
        | {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "projection_dim": 512,
        },
    },
    "sdxl": {
        "unet": _UNET
        | {
            "sample_size": 128,
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
            "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": _VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
        "text_encoder": _TEXT_L,
        "text_encoder_2": _TEXT_L
        | {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "hidden_act": "gelu",
            "projection_dim": 1280,
        },
    },
}
WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # of the text that the UNet reads
SIDE_OF_VELOCITY = 96  # of the latents of SD 2.x that predicts velocities: 768 pixels
