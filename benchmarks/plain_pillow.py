"""What a preparation is compared with: one plain decode and encode by Pillow, in the same kind of worker process."""

from __future__ import annotations

from typing import Any

from airflow_provider_360dialog.media.decoding.worker import serve

JOBS = {"encode": "benchmarks.plain_pillow:encode", "settings": "benchmarks.plain_pillow:settings"}


def load(**_: Any) -> None:
    """Import what the jobs need."""
    from PIL import Image, JpegImagePlugin, PngImagePlugin  # noqa: F401


def settings(*, source: str) -> dict[str, Any]:
    """With which settings a JPEG was encoded: what `encode` takes."""
    from PIL import Image, JpegImagePlugin

    with Image.open(source) as image:
        tables = [list(table) for _, table in sorted(image.quantization.items())]
        settings = {"qtables": tables, "subsampling": JpegImagePlugin.get_sampling(image)}
        return {"options": settings | {"progressive": "progressive" in image.info}}


def encode(*, source: str, target: str, options: dict[str, Any]) -> dict[str, Any]:
    """Decode a picture and encode it as a JPEG in RGB, with Pillow's options for that."""
    from PIL import Image

    with Image.open(source) as image:
        (image if image.mode == "RGB" else image.convert("RGB")).save(target, "JPEG", **options)
    return {}


if __name__ == "__main__":
    serve(JOBS)
