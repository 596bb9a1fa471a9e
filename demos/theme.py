"""The look: the Soft theme with ink, paper and one accent; fonts come with gradio, nothing from the network."""
from pathlib import Path

import gradio as gr

CSS = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")

ACCENT = gr.themes.Color(
    name="accent", c50="#eef4ff", c100="#dbe6fe", c200="#bfd3fe", c300="#93b4fd", c400="#6090fa", c500="#3b6ef5",
    c600="#2554e0", c700="#1d42bd", c800="#1e3a99", c900="#1e357a", c950="#17224a")

THEME = gr.themes.Soft(
    primary_hue=ACCENT, secondary_hue=ACCENT, neutral_hue=gr.themes.colors.zinc,
    radius_size=gr.themes.sizes.radius_sm, text_size=gr.themes.sizes.text_md,
    font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"),
    font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
).set(
    body_background_fill="white", body_background_fill_dark="#111113",
    background_fill_primary="white", background_fill_primary_dark="#18181b",
    background_fill_secondary="*neutral_50", background_fill_secondary_dark="#1f1f23",
    border_color_primary="*neutral_200", border_color_primary_dark="#2e2e33",
    block_background_fill="white", block_background_fill_dark="#18181b",
    block_border_width="1px", block_border_color="*neutral_200", block_border_color_dark="#2e2e33",
    block_shadow="none", block_shadow_dark="none",
    block_title_background_fill="transparent", block_title_background_fill_dark="transparent",
    block_title_text_color="*neutral_800", block_title_text_color_dark="*neutral_200",
    block_title_text_weight="600", block_title_text_size="*text_sm", block_title_padding="0",
    block_label_background_fill="white", block_label_background_fill_dark="#18181b",
    block_label_text_color="*neutral_700", block_label_text_color_dark="*neutral_300",
    block_label_text_size="*text_sm", block_label_text_weight="600",
    block_info_text_color="*neutral_500", block_info_text_color_dark="*neutral_400",
    input_background_fill="*neutral_50", input_background_fill_dark="#1f1f23",
    input_border_color="*neutral_200", input_border_color_dark="#2e2e33", input_border_width="1px",
    input_shadow="none", input_shadow_focus="0 0 0 2px *primary_200", input_shadow_dark="none",
    slider_color="*primary_600", slider_color_dark="*primary_400",
    button_primary_background_fill="*neutral_900", button_primary_background_fill_hover="*neutral_700",
    button_primary_background_fill_dark="*neutral_100", button_primary_background_fill_hover_dark="white",
    button_primary_text_color="white", button_primary_text_color_dark="*neutral_900",
    button_secondary_background_fill="white", button_secondary_background_fill_hover="*neutral_100",
    button_secondary_background_fill_dark="#1f1f23", button_secondary_background_fill_hover_dark="#2a2a2f",
    button_cancel_background_fill="white", button_cancel_background_fill_dark="#1f1f23",
    button_primary_shadow="none", button_primary_shadow_hover="none", button_primary_shadow_active="none",
    button_secondary_shadow="none", button_secondary_shadow_hover="none", button_secondary_shadow_active="none",
    button_border_width="1px", button_secondary_border_color="*neutral_300",
    button_secondary_border_color_dark="#3f3f46", button_cancel_border_color="*neutral_300",
    button_cancel_border_color_dark="#3f3f46", button_primary_border_color="*neutral_900",
    checkbox_label_shadow="none", checkbox_label_background_fill="transparent",
    checkbox_label_background_fill_dark="transparent", checkbox_label_background_fill_hover="*neutral_100",
    checkbox_label_background_fill_hover_dark="#2a2a2f", checkbox_label_border_width="1px",
    checkbox_label_border_color="*neutral_200", checkbox_label_border_color_dark="#3f3f46",
    checkbox_label_background_fill_selected="*primary_50", checkbox_label_background_fill_selected_dark="#1e2a4a",
    checkbox_label_text_color_selected="*primary_800", checkbox_label_text_color_selected_dark="*primary_100",
    checkbox_label_padding="5px 10px", checkbox_label_text_size="*text_sm",
)
