"""The About tab: what each method does, the papers, licences, and what happens to a visitor's data."""

import gradio as gr

from demos.context import Context

NAME = "About"

TEXT = """
## What this is
TextEdit Studio edits a picture by text with published research methods, written out so that each file reads like its
paper. Heavy work is done once per picture (Prepare), light work as often as you like (Edit); every knob of a method can
be swept. Every PNG it saves carries its settings: drop one on *Recall* and the page is set as it was.

## Imagic
Imagic finds the text embedding that makes the model see your picture, then fine-tunes the model a little until it
rebuilds that picture from this embedding. The edit is a straight line between that embedding (eta = 0) and the one of
your prompt (eta = 1), so one number trades fidelity against change. Its figure of merit is how much the picture follows
the prompt (CLIP score) at equal likeness to the source; the paper recommends eta from 0.6 to 0.8.
[Kawar et al., 2022, arXiv 2210.09276](https://arxiv.org/abs/2210.09276)

## SDEdit, the baseline
SDEdit adds noise to the picture and lets the model remove it again under your prompt. The strength says how much noise:
little keeps the picture and the old content, much follows the prompt and loses the picture. It learns nothing about your
picture, which makes it fast, and the baseline every editing method is measured against.
[Meng et al., 2021, arXiv 2108.01073](https://arxiv.org/abs/2108.01073)

## Models and licences
| models | what they are | licence |
|---|---|---|
| toon | small models of Stable Diffusion's own classes, trained by this repository on rendered portraits; \
they know the words of that world only | portraits rendered with the *avataaars* style by Pablo Stanley through \
DiceBear, free for personal and commercial use |
| Stable Diffusion 1.5 | `stable-diffusion-v1-5/stable-diffusion-v1-5`, fetched when you choose it | \
[CreativeML Open RAIL-M](https://huggingface.co/spaces/CompVis/stable-diffusion-license), with its use restrictions |
| CLIP ViT-B/32 | `openai/clip-vit-base-patch32`, for the scores beside Stable Diffusion | MIT |

The Open RAIL-M licence forbids, among other things, to deceive, to harass, to harm minors, and to pass off made-up pictures of
people as real. Edit photographs of people only with their consent, and say that a picture is edited when you show it.

## Your data
Pictures and results stay on the machine that runs this page; nothing is sent to a third party and there is no
telemetry. Uploads and results lie under unguessable names in a temporary folder and are removed after a day. Prepared fits and
edits are kept in memory under a key of their content until the server stops, so only someone with the same picture and
the same settings can meet them again. The page keeps no run history in your browser. A model from the hub is fetched only
after you press *Fetch and load*.
"""


def build(ctx: Context) -> None:
    """Draw the tab inside the current gr.Tab."""
    gr.Markdown(TEXT, elem_classes="about")
