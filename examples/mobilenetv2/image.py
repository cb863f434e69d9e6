"""Paint a picture that has what photographs have: gradients, edges, texture and noise.

    python image.py

The manual's example reads images/000007.jpg; this makes one of the same name, the same on every run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

IMAGE = Path(__file__).resolve().parent / "images" / "000007.jpg"
WIDTH, HEIGHT, HORIZON = 500, 375, 210


def paint() -> Image.Image:
    """Return a street scene of 500x375 pixels: sky, sun, hills, a road and a red car."""
    image = Image.fromarray(_sky_and_ground())
    draw = ImageDraw.Draw(image)
    draw.ellipse((380, 30, 440, 90), fill=(255, 238, 190))
    x = np.arange(WIDTH + 1)
    ridge = HORIZON - 35 - 22 * np.sin(x / 47) - 9 * np.sin(x / 13 + 1)
    outline = [(0, HORIZON), *zip(x.tolist(), ridge.tolist(), strict=True), (WIDTH, HORIZON)]
    draw.polygon(outline, fill=(70, 96, 78))
    draw.polygon([(0, 330), (WIDTH, 300), (WIDTH, HEIGHT), (0, HEIGHT)], fill=(92, 92, 98))
    for left in range(20, WIDTH, 120):
        draw.polygon([(left, 352), (left + 60, 349), (left + 60, 355), (left, 358)], fill=(225, 222, 205))
    image = image.filter(ImageFilter.GaussianBlur(1.5))
    _draw_car(ImageDraw.Draw(image))
    return _add_noise(image.filter(ImageFilter.GaussianBlur(0.6)))


def _sky_and_ground() -> np.ndarray:
    """Return a blue sky that pales towards the horizon, and grass that darkens towards the viewer."""
    pixels = np.empty((HEIGHT, WIDTH, 3))
    down = np.linspace(0, 1, HORIZON)[:, np.newaxis, np.newaxis]
    pixels[:HORIZON] = (1 - down) * [84, 138, 210] + down * [214, 224, 232]
    down = np.linspace(0, 1, HEIGHT - HORIZON)[:, np.newaxis, np.newaxis]
    pixels[HORIZON:] = (1 - down) * [138, 156, 92] + down * [72, 98, 48]
    return pixels.astype(np.uint8)


def _draw_car(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((110, 318, 395, 346), fill=(58, 58, 64))
    draw.polygon([(165, 250), (200, 205), (300, 205), (345, 250)], fill=(150, 22, 28))
    draw.polygon([(180, 250), (207, 213), (248, 213), (248, 250)], fill=(168, 196, 214))
    draw.polygon([(256, 250), (256, 213), (295, 213), (328, 250)], fill=(150, 180, 202))
    draw.rounded_rectangle((115, 248, 390, 315), radius=18, fill=(186, 30, 36))
    draw.rectangle((122, 284, 384, 289), fill=(120, 16, 22))
    draw.ellipse((368, 260, 386, 276), fill=(252, 246, 214))
    for left in (150, 305):
        draw.ellipse((left, 288, left + 52, 340), fill=(24, 24, 26))
        draw.ellipse((left + 15, 303, left + 37, 325), fill=(176, 178, 184))


def _add_noise(image: Image.Image) -> Image.Image:
    """Add the noise of a sensor, and texture where there is grass."""
    rng = np.random.default_rng(7)
    pixels = np.asarray(image, np.float64)
    texture = rng.normal(0, 12, (HEIGHT, WIDTH, 1))
    is_green = pixels[..., 1:2] > np.maximum(pixels[..., 0:1], pixels[..., 2:3])
    pixels = pixels + texture * is_green + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save_image(path: Path = IMAGE) -> None:
    """Paint the picture and write it to `path`."""
    path.parent.mkdir(exist_ok=True)
    paint().save(path, quality=90)
    print(f"painted {path.name}")


if __name__ == "__main__":
    save_image()
