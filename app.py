"""TextEdit Studio: the entry point of a local run and of a Space. Heavy imports come after the flags."""

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

SWITCHES = ("folders", "safety", "public")
VALUES = ("device", "models", "dtype", "memory", "max-cells", "allow-models", "gpu-seconds", "cache-memory",
          "cache-disk")  # fmt: skip
ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ZERO_GPU:
    import spaces  # before torch, whose CUDA it replaces in this process

from textedit_core.choices import DTYPES, MEMORY  # noqa: E402


def environment() -> list[str]:
    """Flags set as TEXTEDIT_DTYPE=float16 or TEXTEDIT_FOLDERS=1: nobody types the command line of a Space."""
    given = {name: os.environ.get(f"TEXTEDIT_{name.upper().replace('-', '_')}") for name in SWITCHES + VALUES}
    switches = [f"--{name}" for name in SWITCHES if given[name] not in (None, "", "0")]
    return switches + [f"--{name}={given[name]}" for name in VALUES if given[name]]


def flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line after the environment; `arguments` defaults to the process's own."""
    parser = argparse.ArgumentParser(
        description="Edit images by text with published research methods.",
        epilog="The flags from --device on can be set in the environment too: TEXTEDIT_MAX_CELLS=16.",
    )
    add = parser.add_argument
    port, host = os.environ.get("GRADIO_SERVER_PORT", 7860), os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    add("--port", type=int, default=port, help="port of the page (default 7860)")
    add("--host", default=host, help="address to listen on; 0.0.0.0 lets others in (default 127.0.0.1)")
    add("--share", action="store_true", help="open a public gradio.live link")
    add("--device", default="auto", help="cpu, cuda, mps or auto (default auto)")
    about = "toon (bundled), sd, a folder, a file or owner/name of the hub; more behind ' + ' is added to it"
    add("--models", default="toon", metavar="NAME", help=about)
    about = "of diffusion models (auto: float16, on a CPU float32)"
    add("--dtype", default="auto", choices=DTYPES, help=about)
    add("--memory", default="auto", choices=MEMORY, help="how much of it diffusion models may take")
    add("--max-cells", type=int, default=64, metavar="N", help="cells of one sweep, at most (default 64)")
    about = (
        "let visitors name any models and files to add; always so on 127.0.0.1 without --share or --public"
    )
    add("--folders", action="store_true", help=about)
    add("--public", action="store_true", help="strangers reach this page, though it listens on 127.0.0.1")
    about = "what visitors of a public page may name beside toon and sd, with commas between (default none)"
    add("--allow-models", default="", metavar="NAMES", help=about)
    add("--safety", action="store_true", help="refuse what sd's safety checker finds unsafe; fetches 1.2 GB")
    about = "GPU time that one run may ask for on ZeroGPU (default 120)"
    add("--gpu-seconds", type=int, default=120, metavar="N", help=about)
    about = "memory for results that may be asked for again (default: a 192nd part of all, 128 to 1024)"
    add("--cache-memory", type=int, metavar="MB", help=about)
    about = "disk for those not used for a while (default: half of what is free, up to 8192; 0: none)"
    add("--cache-disk", type=int, metavar="MB", help=about)
    options = parser.parse_args(environment() + (sys.argv[1:] if arguments is None else arguments))
    for name in ("max_cells", "gpu_seconds"):
        if getattr(options, name) < 1:
            flag = f"--{name.replace('_', '-')}"
            parser.error(f"argument {flag}: {getattr(options, name)} is not a whole number from 1 on")
    for name in ("cache_memory", "cache_disk"):
        if (getattr(options, name) or 0) < 0:
            parser.error(f"argument --{name.replace('_', '-')}: {getattr(options, name)} is below 0")
    return options


def main() -> None:
    """Build the page and serve it until interrupted."""
    options = flags()
    from textedit_core import threads

    threads.wait_asleep()
    threads.share_arenas()
    from demos.app import LAUNCH_KWARGS, create_app
    from demos.context import is_private
    from demos.shared.keeping import cache_of_host
    from textedit_core import cache
    from textedit_core.models import zoo

    cache.default = cache_of_host(options.cache_memory, options.cache_disk)
    folders = options.folders or is_private(options.host, options.share, options.public)
    flagged = ("max_cells", "dtype", "memory", "safety", "gpu_seconds")
    limits = {name: getattr(options, name) for name in flagged}
    limits["allowed"] = tuple(name.strip() for name in options.allow_models.split(",") if name.strip())
    limits["gpu"] = spaces.GPU if ZERO_GPU else None
    demo = create_app(zoo, options.models, options.device, folders=folders, **limits)
    demo.launch(server_name=options.host, server_port=options.port, share=options.share, **LAUNCH_KWARGS)


if __name__ == "__main__":
    main()
