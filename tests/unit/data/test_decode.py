"""Decoding: correct pixels for every format and color mode, and an error with a reason for everything else."""

from __future__ import annotations

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_images import encoded, noise_image, png, smooth_image
from noisystudent.data import decode, formats
from noisystudent.data.decode import MAX_PIXELS, read_header
from noisystudent.errors import DataError

WHITE = 255


def decode_image(encoded: bytes | np.ndarray, channels: int) -> np.ndarray:
    """The pixels of the decoded image, uint8 [H, W] or [H, W, 3]."""
    image = decode.decode_image(encoded, channels)
    assert image.mode == {1: "L", 3: "RGB"}[channels]
    return np.asarray(image)


def luma(pixels: np.ndarray) -> np.ndarray:
    """ITU-R 601 luma of RGB pixels, float."""
    return pixels.astype(float) @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("PNG", {"interlace": 1})],
    ids=lambda value: str(value),
)
def test_lossless_color_formats_keep_every_pixel(format, options):
    pixels = noise_image(11, 7)
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels), format, **options), 3), pixels)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_are_near(format):
    pixels = smooth_image(48, 40)
    decoded = decode_image(encoded(Image.fromarray(pixels), format, quality=95), 3)
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).mean() < 4


def test_progressive_jpeg_equals_baseline():
    image = Image.fromarray(smooth_image(40, 40))
    baseline, progressive = (encoded(image, "JPEG", progressive=flag) for flag in (False, True))
    assert baseline != progressive
    assert np.array_equal(decode_image(baseline, 3), decode_image(progressive, 3))


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "PPM"])
def test_gray_stays_gray_or_becomes_three_equal_channels(format):
    pixels = noise_image(9, 5, channels=1)
    content = encoded(Image.fromarray(pixels), format)
    assert np.array_equal(decode_image(content, 1), pixels)
    assert np.array_equal(decode_image(content, 3), np.stack([pixels] * 3, axis=-1))


def test_color_becomes_gray_by_luma():
    pixels = noise_image(9, 5)
    assert np.abs(decode_image(png(pixels), 1) - luma(pixels)).max() <= 0.6


def test_one_bit_is_black_and_white():
    bits = noise_image(8, 9, channels=1) > 127
    decoded = decode_image(encoded(Image.fromarray(bits), "PNG"), 1)
    assert np.array_equal(decoded, np.where(bits, 255, 0))


def test_sixteen_bit_gray_is_scaled_not_clipped():
    values = np.array([[0, 128, 129, 257, 1000], [32768, 40000, 65000, 65406, 65535]], dtype=np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values), "PNG"), 1)
    assert np.array_equal(decoded, np.rint(values * (255 / 65535)).astype(np.uint8))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(width: int, height: int, *, depth: int, color_type: int, content: bytes, extra: bytes = b"") -> bytes:
    """A PNG file assembled by hand, for variants that Pillow does not write."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + png_chunk(b"IDAT", zlib.compress(content)) + png_chunk(b"IEND", b"")


def wide_png(values: np.ndarray) -> bytes:
    """A PNG file with 16 bits per channel: [H, W, C] with 1 (gray) to 4 (RGBA) channels."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return raw_png(width, height, depth=16, color_type=color_type, content=rows)


def wide_tiff(values: np.ndarray, order: str = "<") -> bytes:
    """A TIFF file with 16 bits per channel, [H, W, 3], written by hand, because Pillow writes none."""
    height, width, _ = values.shape
    start = 8 + 2 + 9 * 12 + 4  # after the header and nine entries
    integer = {256: width, 257: height, 273: start + 6, 278: height, 279: values.size * 2}
    short = {259: 1, 262: 2, 277: 3}
    entries = [(tag, struct.pack(f"{order}HHII", tag, 4, 1, value)) for tag, value in integer.items()]
    entries += [(tag, struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)) for tag, value in short.items()]
    entries.append((258, struct.pack(f"{order}HHII", 258, 3, 3, start)))
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, 9)
    directory = head + b"".join(entry for _, entry in sorted(entries)) + bytes(4)
    return directory + struct.pack(f"{order}3H", 16, 16, 16) + values.astype(f"{order}u2").tobytes()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_images_use_the_bits_that_are_there(bits):
    top = 2**bits - 1
    values = np.random.default_rng(bits).integers(0, top + 1, (20, 30, 3))
    values[0, 0] = top
    levels = np.rint(values * (255 / top)).astype(np.uint8)
    opaque = np.full((20, 30, 1), 65535)
    for content in (
        wide_png(values),
        wide_tiff(values),
        wide_tiff(values, ">"),
        wide_png(np.concatenate([values, opaque], axis=2)),
    ):
        assert np.array_equal(decode_image(content, 3), levels)
        assert decode.largest_wide_value(content) == top
    gray = values[..., :1]
    for content in (wide_png(gray), wide_png(np.concatenate([gray, opaque], axis=2))):
        assert np.array_equal(decode_image(content, 1), levels[..., 0])
        assert decode.largest_wide_value(content) == top


def test_values_beyond_the_given_bits_are_white_and_smaller_ones_keep_their_place():
    content = wide_png(np.array([[[0], [100], [1023], [5000], [65535]]]))
    assert np.asarray(decode.decode_image(content, 1, bits=10)).tolist() == [[0, 25, 255, 255, 255]]
    assert np.asarray(decode.decode_image(content, 1, bits=16)).tolist() == [[0, 0, 4, 19, 255]]


def test_images_of_eight_bits_have_no_wide_value():
    for content in (png(noise_image(4, 4)), encoded(Image.new("RGB", (4, 4)), "JPEG"), b"", noise_image(4, 4)):
        assert decode.largest_wide_value(content) is None


def test_rgba_is_composited_on_white():
    pixels = np.dstack([noise_image(6, 6), noise_image(6, 6, seed=1, channels=1)])
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] * alpha + WHITE * (1 - alpha)
    for content in (png(pixels), encoded(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)):
        assert np.abs(decode_image(content, 3) - expected).max() <= 1
        assert np.abs(decode_image(content, 1) - luma(expected)).max() <= 2


def test_gray_with_alpha_is_composited_on_white():
    pixels = np.dstack([noise_image(6, 6, channels=1), noise_image(6, 6, seed=1, channels=1)])
    expected = pixels[..., 0] * (pixels[..., 1] / 255) + WHITE * (1 - pixels[..., 1] / 255)
    content = encoded(gray_alpha(pixels), "PNG")
    assert np.abs(decode_image(content, 1) - expected).max() <= 1
    assert np.abs(decode_image(content, 3) - expected[..., None]).max() <= 1


def gray_alpha(pixels: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(np.ascontiguousarray(pixels[..., i])) for i in range(2)])


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("L")
    image = Image.frombytes("P", (2, 2), image.tobytes())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP"])
def test_palette_colors_are_looked_up(format):
    decoded = decode_image(encoded(palette_image(), format), 3)
    assert decoded.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]]


def test_palette_transparency_is_white():
    transparent = decode_image(encoded(palette_image(), "PNG", transparency=1), 3)
    assert transparent.tolist() == [[[255, 0, 0], [255] * 3], [[0, 0, 255], [255] * 3]]
    gif = decode_image(encoded(palette_image(), "GIF", transparency=1), 3)
    assert np.array_equal(gif, transparent)
    graded = decode_image(encoded(palette_image(), "PNG", transparency=b"\x00\x80\xff"), 3)
    assert graded[0, 0].tolist() == [255, 255, 255]
    assert np.abs(graded[0, 1].astype(int) - [127, 255, 127]).max() <= 1
    assert graded[1, 0].tolist() == [0, 0, 255]


def test_color_marked_as_transparent_is_white():
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8)
    content = encoded(Image.fromarray(pixels), "PNG", transparency=(1, 2, 3))
    assert decode_image(content, 3).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_cmyk_jpeg_has_the_colors_of_its_inks():
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[:, :8] = (255, 0, 0, 0)  # full cyan
    inks[:, 8:] = (0, 0, 0, 128)  # half black
    image = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    content = encoded(image, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in content  # stored inverted, as Adobe does
    decoded = decode_image(content, 3).astype(int)
    assert np.abs(decoded[:, :7] - [0, 255, 255]).max() <= 4
    assert np.abs(decoded[:, 9:] - [127, 127, 127]).max() <= 4


# The stored pixels for each orientation: the inverse of the rotation that a viewer applies.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(orientation, format):
    upright = smooth_image(24, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}}[format]
    decoded = decode_image(encoded(stored, format, exif=exif, **options), 3)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < (4 if format == "JPEG" else 0.01)


def test_damaged_exif_does_not_make_an_image_unreadable():
    pixels = smooth_image(16, 16)
    content = encoded(Image.fromarray(pixels), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert np.abs(decode_image(content, 3).astype(int) - pixels).mean() < 4


def test_an_animation_decodes_to_its_first_frame():
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "lime", "blue")]
    for format in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert (decode_image(content, 3) == [255, 0, 0]).all(), format


def test_the_first_page_of_a_tiff_counts():
    pages = [Image.new("RGB", size, color) for size, color in (((6, 5), "red"), ((9, 9), "blue"))]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert np.array_equal(decode_image(content, 3), np.full((5, 6, 3), [255, 0, 0]))


def test_the_orientation_of_a_tiff_is_applied_once():
    pixels = smooth_image(16, 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(decode_image(encoded(stored, "TIFF", exif=exif), 3), pixels)


def test_heic_without_its_reader_says_what_to_install(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    formats._missing_reader.cache_clear()
    formats.register_heif.cache_clear()
    with pytest.raises(DataError, match=r"a HEIC image, which needs pip install 'noisystudent\[heif\]'"):
        decode_image(b"\0\0\0\x18ftypheic" + bytes(60), 3)
    formats._missing_reader.cache_clear()
    formats.register_heif.cache_clear()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF"])
def test_a_file_that_lacks_its_end_marker_only_is_read(format):
    content = encoded(Image.fromarray(smooth_image(40, 50)), format)
    ends = {"JPEG": [1, 2], "PNG": [1, 4, 8, 12], "GIF": [1]}[format]
    for missing in ends:
        assert np.array_equal(decode_image(content[:-missing], 3), decode_image(content, 3)), missing


COLOR, GRAY = (Image.fromarray(noise_image(64, 64, channels=channels)) for channels in (3, 1))
FILES = {
    "jpeg": encoded(COLOR, "JPEG"),
    "progressive jpeg": encoded(COLOR, "JPEG", progressive=True),
    "png": encoded(COLOR, "PNG"),
    "webp": encoded(COLOR, "WEBP"),
    "bmp": encoded(COLOR, "BMP"),
    "gif": encoded(GRAY, "GIF"),
    "tiff": encoded(COLOR, "TIFF"),
    "tiff with lzw": encoded(COLOR, "TIFF", compression="tiff_lzw"),
    "ppm": encoded(COLOR, "PPM"),
    "avif": encoded(COLOR, "AVIF"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.95])
def test_truncated_files_are_failures_not_partial_images(name, fraction):
    content = FILES[name]
    decode_image(content, 3)
    with pytest.raises(DataError):
        decode_image(content[: int(fraction * len(content))], 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is text in a file that is called .jpg", "not a JPEG, PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not a JPEG|damaged"),
        (b"\x89PNG\r\n\x1a\n", "not a JPEG|damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG, PNG"),
        (encoded(Image.new("RGB", (4, 4)), "TGA"), "not a JPEG, PNG"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point numbers"),
        (encoded(Image.new("I", (4, 4), 70_000), "TIFF"), "values go from 70000 to 70000, and 0 to 65535"),
    ],
    ids=["empty", "text", "jpeg header only", "png header only", "postscript", "tga", "float tiff", "32-bit tiff"],
)
def test_a_file_that_is_not_an_image_is_refused_with_a_reason(content, reason):
    readers = (lambda: decode_image(content, 3), lambda: read_header(content))
    for read in readers[: 1 if "values" in reason or "floating" in reason else 2]:
        with pytest.raises(DataError, match=reason) as caught:
            read()
        assert "0x" not in str(caught.value)  # no memory addresses: the same file gives the same reason


def test_damaged_png_checksum_is_refused():
    content = bytearray(png(noise_image(32, 32)))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(DataError, match="damaged"):
        decode_image(bytes(content), 3)


@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 8_901), (13_400, 13_300), (60_000, 60_000), (2**31 - 1, 1), (0, 5)]
)
def test_a_huge_image_is_refused_before_decoding(width, height):
    bomb = raw_png(width, height, depth=8, color_type=0, content=bytes(1000))
    for read in (lambda: decode_image(bomb, 1), lambda: read_header(bomb)):
        with pytest.raises(DataError):
            read()


def test_the_limit_does_not_depend_on_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    bomb = raw_png(MAX_PIXELS // 1000 + 1, 1000, depth=1, color_type=0, content=bytes(10))
    with pytest.raises(DataError, match=r"178001 x 1000 pixels, more than the 178,000,000 allowed"):
        decode_image(bomb, 1)


def test_a_large_image_below_the_limit_is_decoded_without_a_warning():
    content = encoded(Image.new("1", (12_000, 8_000), 1), "PNG")  # 96 million: Pillow would warn
    decoded = decode_image(content, 1)
    assert decoded.shape == (8_000, 12_000)
    assert decoded[::1000].all()


def test_warning_filters_survive_threads():
    before = list(warnings.filters)
    content = encoded(palette_image(), "PNG", transparency=b"\x00\x80\xff")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode_image(content, 3), range(200)))
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("image", "gray"),
    [
        (Image.new("L", (3, 2)), True),
        (Image.new("1", (3, 2)), True),
        (Image.new("LA", (3, 2)), True),
        (Image.fromarray(np.zeros((2, 3), np.uint16)), True),
        (Image.new("RGB", (3, 2)), False),
        (Image.new("RGBA", (3, 2)), False),
        (palette_image().resize((3, 2)), False),
        (Image.new("L", (3, 2)).convert("P"), True),
    ],
    ids=["L", "1", "LA", "I;16", "RGB", "RGBA", "color palette", "gray palette"],
)
def test_the_header_gives_size_and_gray(image, gray):
    assert read_header(encoded(image, "PNG")) == (2, 3, gray)


def test_reading_the_header_needs_only_the_beginning_of_the_file():
    content = encoded(Image.fromarray(noise_image(200, 300)), "JPEG")
    assert read_header(content[:1000]) == (200, 300, False)


def test_arrays_pass_unchanged_or_are_converted():
    color, gray = noise_image(5, 4), noise_image(5, 4, channels=1)
    assert np.array_equal(decode_image(color, 3), color)
    assert np.array_equal(decode_image(gray, 1), gray)
    assert np.array_equal(decode_image(gray, 3)[..., 2], gray)
    assert np.array_equal(decode_image(color, 1), decode_image(png(color), 1))
    assert read_header(gray) == (5, 4, True)
    assert read_header(color) == (5, 4, False)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_odd_arrays_are_refused(array):
    with pytest.raises(DataError, match="not uint8"):
        decode_image(array, 3)


@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), name=st.sampled_from(sorted(FILES)))
def test_any_changed_byte_gives_an_image_or_a_reason(position, value, name):
    content = bytearray(FILES[name])
    content[int(position * len(content))] = value
    try:
        decoded = decode_image(bytes(content), 3)
    except DataError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
