"""TextEdit Studio: the entry point of a local run and of a Space. Heavy imports come after the flags."""

import argparse
import contextlib
import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401  a Space with ZeroGPU wants this import before torch


def flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `arguments` defaults to the process's own."""
    parser = argparse.ArgumentParser(description="Edit images by text with published research methods.")
    parser.add_argument(
        "--port",
        type=int,
        default=int(os.environ.get("GRADIO_SERVER_PORT", 7860)),
        help="port of the page (default 7860)",
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        help="address to listen on; 0.0.0.0 lets other machines in (default 127.0.0.1)",
    )
    parser.add_argument("--share", action="store_true", help="open a public gradio.live link")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default auto)")
    parser.add_argument(
        "--models",
        default="toon",
        metavar="NAME_OR_FOLDER",
        help="toon (bundled), sd (from the hub) or a folder laid out like the bundle",
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Build the page and serve it until interrupted."""
    options = flags()
    from demos.app import LAUNCH_KWARGS, create_app
    from textedit_core.models import zoo

    demo = create_app(zoo, models=options.models, device=options.device)
    demo.launch(server_name=options.host, server_port=options.port, share=options.share, **LAUNCH_KWARGS)


if __name__ == "__main__":
    main()
