"""The picture of a step: it comes while a run goes on, and without it the result is the same to the byte."""

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from demos.shared import preview
from textedit_core import cache

PROMPT = "a smiling woman with a red hat"
ASKED = {
    "text2live": {"source_prompt": "a man with a red hat", "prompt": PROMPT, "steps": 6},
    "imagic": {"prompt": PROMPT},
    "prompt_to_prompt": {
        "source_prompt": "a man with a red hat",
        "prompt": PROMPT,
        "inversion": "npi",
        "steps": 4,
    },
}


@pytest.mark.parametrize("method", ASKED)
def test_the_result_is_the_same_to_the_byte_with_and_without(client, picture, monkeypatch, method):
    monkeypatch.setattr(preview, "FIRST_AFTER", 0)
    monkeypatch.setattr(preview, "SECONDS_APART", 0)
    made, seen = {}, {}
    for watching in (True, False):
        cache.default.clear()
        asked = {"image": handle_file(picture()), "watching": watching} | ASKED[method]
        job = client.submit(**asked, api_name=f"/{method}_edit")
        with Image.open(job.result()[0]) as edited:
            made[watching] = np.asarray(edited.convert("RGB"))
        seen[watching] = sum("glimpse" in str(update) for update in job.outputs())
    assert made[True].tobytes() == made[False].tobytes()
    assert seen[True] > 2 and seen[False] == 0
