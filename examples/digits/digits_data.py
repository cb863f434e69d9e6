"""The data of the digits example: where it comes from, how it is split, how an image becomes an input.

scikit-learn's digits are 1797 images of 8x8 pixels, values 0 .. 16. They were collected with a form: every
writer copied the same sequence of digits, which begins with three times 0123456789, and the images are stored
form after form. The eleventh form begins at image 1287. The last four forms are held out: the network is
measured on forms of which it has seen no image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).with_name("samples.npz")
HELD_OUT_FROM = 1287
SIDE = 32


def split() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return (images, labels) for training and (images, labels) held out, as uint8; needs scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    training = images[:HELD_OUT_FROM], labels[:HELD_OUT_FROM]
    held_out = images[HELD_OUT_FROM:], labels[HELD_OUT_FROM:]
    return training, held_out


def load_samples() -> tuple[np.ndarray, np.ndarray]:
    """Return the held-out images (N, 8, 8) and labels (N,) from the file beside this one."""
    with np.load(SAMPLES) as archive:
        return archive["images"], archive["labels"]


def preprocess(images: np.ndarray) -> np.ndarray:
    """Turn images (N, 8, 8) of 0 .. 16 into inputs (N, 1, 32, 32) of -1 .. 1, each pixel a block of 4x4."""
    scale = SIDE // images.shape[-1]
    enlarged = images.repeat(scale, axis=-2).repeat(scale, axis=-1)
    return (enlarged[:, np.newaxis] / 8.0 - 1.0).astype(np.float32)
