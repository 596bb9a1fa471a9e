"""The pictures of the command line at seed 0, by sha256: a list to hold while the code is rebuilt.

`python -m tests.same_pictures FOLDER` runs every command, and writes same_pictures.json beside this file when
it is not there yet, else says what differs.
"""

import hashlib
import json
import sys
from pathlib import Path

from PIL import Image

from textedit_core.__main__ import main

LISTED = Path(__file__).with_suffix(".json")
EXAMPLES = Path(__file__).parents[1] / "demos" / "examples"
FACE = str(EXAMPLES / "imagic" / "01.png")
BEFORE, AFTER = "a grimacing person with long blue hair", "a happy person with long blue hair"
PAINT = EXAMPLES / "paint_by_example"

P2P = ["edit", "prompt_to_prompt", "--image", FACE, "--source-prompt", BEFORE, "--prompt", AFTER]
STYLE = ["--latent-seed", "0"]
TEXTS = ["--neutral", "a person", "--prompt", "a person with sunglasses"]
COMMANDS = {
    "sdedit": ["edit", "sdedit", "--image", FACE, "--prompt", AFTER],
    "imagic": ["edit", "imagic", "--image", FACE, "--prompt", AFTER],
    "imagic-lora": ["edit", "imagic", "--image", FACE, "--prompt", AFTER, "--tune", "lora", "--eta", "0.9",
                    "--finetune-steps", "30", "--embedding-steps", "30"],
    **{f"p2p-{kind}": [*P2P, "--inversion", kind] for kind in ("direct", "null_text", "npi", "ddim")},
    "p2p-blend": [*P2P, "--blend-words", "happy", "--word-weights", "happy=2", "--keep-to-source", "0.3"],
    "paint_by_example": ["edit", "paint_by_example", "--image", str(PAINT / "01-source.png"), "--mask",
                         str(PAINT / "01-mask.png"), "--exemplar", str(PAINT / "01-exemplar.png")],
    "paint_by_example-plms": ["edit", "paint_by_example", "--image", str(PAINT / "05-source.png"), "--mask",
                              str(PAINT / "05-mask.png"), "--exemplar", str(PAINT / "05-exemplar.png"),
                              "--sampler", "plms", "--structure", "0.5"],
    "styleclip_optimizer": ["edit", "styleclip_optimizer", "--prompt", "a person with sunglasses", *STYLE],
    "styleclip_optimizer-s": ["edit", "styleclip_optimizer", "--prompt", "a person with sunglasses", *STYLE,
                              "--space", "s", "--steps", "20"],
    "styleclip_optimizer-projected": ["edit", "styleclip_optimizer", "--prompt", "a happy person", "--image",
                                      FACE, "--steps", "20"],
    "styleclip_directions": ["edit", "styleclip_directions", *TEXTS, *STYLE],
    "styleclip_directions-projected": ["edit", "styleclip_directions", *TEXTS, "--image", FACE],
    "styleclip_mapper": ["edit", "styleclip_mapper", "--prompt", "sunglasses", "--steps", "10", *STYLE],
    "ganspace": ["edit", "latent_directions", *STYLE],
    "interfacegan": ["edit", "latent_directions", *TEXTS, "--technique", "interfacegan", "--samples", "400",
                     *STYLE],
    "stylespace": ["edit", "latent_directions", *TEXTS, "--technique", "stylespace", *STYLE],
    "sweep-sdedit": ["sweep", "sdedit", "--image", FACE, "--prompt", AFTER, "--x", "strength=0.4,0.8", "--y",
                     "seed=0-1"],
    "sweep-imagic": ["sweep", "imagic", "--image", FACE, "--prompt", AFTER, "--x", "eta=0,0.5,1", "--y",
                     "seed=0-1", "--embedding-steps", "20", "--finetune-steps", "20"],
    "sweep-p2p": ["sweep", "prompt_to_prompt", *P2P[2:], "--x", "cross_replace_steps=0.2,0.8"],
    "sweep-directions": ["sweep", "styleclip_directions", *TEXTS, *STYLE, "--x", "alpha=-2,4", "--y",
                         "beta=0.1,0.2"],
    "sweep-paint": ["sweep", "paint_by_example", *["--image", str(PAINT / "01-source.png"), "--mask",
                    str(PAINT / "01-mask.png"), "--exemplar", str(PAINT / "01-exemplar.png")], "--x",
                    "guidance_scale=0,5"],
}  # fmt: skip


def pictures(name: str, folder: Path) -> dict[str, list[str]]:
    """What a command draws: {file: [sha256 of its size and pixels, sha256 of the file]}; {} if it fails."""
    out = folder / (name if COMMANDS[name][0] == "sweep" else f"{name}.png")
    if main([*COMMANDS[name], "--out", str(out)]) != 0:
        return {}
    found = sorted(out.glob("*.png")) if out.is_dir() else [out]
    return {path.relative_to(folder).as_posix(): [_pixels(path), _sha(path.read_bytes())] for path in found}


def _pixels(path: Path) -> str:
    with Image.open(path) as image:
        return _sha(f"{image.mode} {image.size}".encode() + image.tobytes())


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    made = {name: pictures(name, Path(sys.argv[1])) for name in COMMANDS}
    if not LISTED.exists():
        LISTED.write_text(json.dumps(made, indent=1) + "\n")
    for name, files in json.loads(LISTED.read_text()).items():
        same = [made[name].get(file) == shas for file, shas in files.items()]
        drawn = [made[name].get(file, [""])[0] == shas[0] for file, shas in files.items()]
        print(f"{name}: {len(files)} files, {sum(same)} the same file, {sum(drawn)} the same pixels")
