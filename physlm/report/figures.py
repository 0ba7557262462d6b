"""The committed figures as pages carry them: all pixels in a third of the bytes, and a smaller one for the wall."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from physlm import storage
from physlm.errors import UserError

WALL_WIDTH = 760  # pixels: twice the width of a card
_CURE = "physlm figure draws it again"


@dataclass(frozen=True)
class Picture:
    """A WebP file and its size in pixels."""

    data: bytes
    width: int
    height: int


def pictures(path: Path) -> tuple[Picture, Picture]:
    """The figure without loss, and a smaller one.

    Raises:
        UserError: the file is no PNG.
    """
    with storage.disk_errors(path, "read", _CURE), open(path, "rb", opener=storage.plain) as file:
        data = file.read()
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as found:
            image = found.convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: expected a PNG figure, found other bytes or damage; {_CURE}") from error
    paper = Image.new("RGBA", image.size, "white")
    whole = Image.alpha_composite(paper, image).convert("RGB")
    return _webp(whole, lossless=True), _webp(_scaled(whole), lossless=False)


def _scaled(image: Image.Image) -> Image.Image:
    if image.width <= WALL_WIDTH:
        return image
    return image.resize((WALL_WIDTH, round(image.height * WALL_WIDTH / image.width)), Image.Resampling.LANCZOS)


def _webp(image: Image.Image, lossless: bool) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=lossless, quality=80, method=4)
    return Picture(buffer.getvalue(), image.width, image.height)
