"""The Gradio app: the only folder that imports gradio."""
