"""The same job for each tool, done by Darkroom, by a well-known library, and by sharp where it has the operation."""

import base64
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Peer = Callable[[Sequence[Path], Path], object]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison.

    Attributes:
        tool: Darkroom's tool.
        settings: Its settings.
        peer_name: Who else does it.
        peer: The same with that library, from files to a file.
        sharp: The body of an async JavaScript function with `photo`, `out` and `folder`; empty where it has none.
        inputs: Files of the benchmark's folder.
    """

    tool: str
    settings: Mapping[str, Any]
    peer_name: str
    peer: Peer
    sharp: str = ""
    inputs: Sequence[str] = field(default=("photo.jpg",))


def make_inputs(folder: Path) -> None:
    """Everything beside the photo: a logo, a small picture, an animation, a drawing, a document, a code."""
    import segno

    with Image.open(folder / "photo.jpg") as photo:
        photo.resize((1000, 750)).save(folder / "small.jpg", quality=90)
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "other.jpg", quality=90)
        frames = [photo.resize((480, 360)).rotate(n * 3).quantize(128) for n in range(30)]
        frames[0].save(folder / "animation.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)
        photo.resize((1240, 1754)).save(folder / "document.pdf", resolution=150)
        coded = photo.copy()
        code = io.BytesIO()
        segno.make("https://example.com/darkroom", micro=False).save(code, kind="png", scale=20)
        coded.paste(Image.open(code).convert("RGB"), (900, 700))
        coded.save(folder / "coded.jpg", quality=90)
    logo = Image.new("RGBA", (600, 300), (0, 0, 0, 0))
    ImageDraw.Draw(logo).ellipse((20, 20, 580, 280), fill=(200, 30, 60, 200))
    logo.save(folder / "logo.png")
    shapes = "".join(
        f'<circle cx="{n * 37 % 400}" cy="{n * 91 % 300}" r="{5 + n % 20}" fill="#{n * 4391 % 0xFFFFFF:06x}"/>'
        for n in range(400)
    )
    (folder / "drawing.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300">{shapes}</svg>'
    )


def _opened(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def _saved(image: Image.Image, out: Path, **options: Any) -> None:
    image.save(out / "peer.jpg", quality=80, **options)


def _pillow(change: Callable[[Image.Image], Image.Image]) -> Peer:
    return lambda paths, out: _saved(change(_opened(paths[0])), out)


def _font(size: int) -> ImageFont.FreeTypeFont:
    from importlib.resources import files

    return ImageFont.truetype(str(files("darkroom_tools") / "data" / "fonts" / "DejaVuSans.ttf"), size)


def _written(image: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    draw.rectangle((1400, 2780, 2600, 2900), fill=(0, 0, 0, 255))
    draw.text((1420, 2790), "A day by the sea", font=_font(96), fill="white")
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _adjusted(image: Image.Image) -> Image.Image:
    for enhance, factor in ((ImageEnhance.Brightness, 1.1), (ImageEnhance.Contrast, 1.2), (ImageEnhance.Color, 1.2)):
        image = enhance(image).enhance(factor)
    return image


def _recolored(paths: Sequence[Path], out: Path) -> None:
    pixels = np.asarray(_opened(paths[0])).copy()
    distance = ((pixels.astype(np.int32) - (200, 60, 40)) ** 2).sum(axis=-1)
    pixels[distance <= 60**2] = (20, 90, 200)
    _saved(Image.fromarray(pixels), out)


def _stamped(paths: Sequence[Path], out: Path) -> None:
    image, logo = _opened(paths[0]), Image.open(paths[1]).convert("RGBA").resize((1008, 504))
    logo.putalpha(logo.getchannel("A").point(lambda value: value // 2))
    image.paste(logo, (image.width - 1028, image.height - 524), logo)
    _saved(image, out)


def _multiplied(paths: Sequence[Path], out: Path) -> None:
    image, over = _opened(paths[0]), _opened(paths[1])
    box = (100, 100, 100 + over.width, 100 + over.height)
    image.paste(ImageChops.multiply(image.crop(box), over), box)
    _saved(image, out)


def _hashed(paths: Sequence[Path], _out: Path) -> list[int]:
    hashes = []
    for path in paths:
        grey = Image.open(path)
        grey.draft("L", (64, 64))
        small = np.asarray(grey.convert("L").resize((9, 9), Image.Resampling.LANCZOS)).astype(int)
        rows, columns = small[:8, 1:] > small[:8, :-1], small[1:, :8] > small[:-1, :8]
        hashes.append(int("".join(str(int(bit)) for bit in (*rows.ravel(), *columns.ravel())), 2))
    return hashes


def _palette(paths: Sequence[Path], _out: Path) -> object:
    image = Image.open(paths[0])
    image.draft("RGB", (128, 128))
    image.thumbnail((128, 128))
    return image.convert("RGB").quantize(8, kmeans=8).getpalette()


def _collage(paths: Sequence[Path], out: Path) -> None:
    sheet = Image.new("RGB", (2400, 1800), "white")
    for n in range(4):
        cell = ImageOps.fit(_opened(paths[n % len(paths)]), (1188, 888), Image.Resampling.LANCZOS)
        sheet.paste(cell, (8 + n % 2 * 1196, 8 + n // 2 * 896))
    _saved(sheet, out)


def _stitched(paths: Sequence[Path], out: Path) -> None:
    images = [_opened(path) for path in paths]
    sheet = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width
    _saved(sheet, out)


def _split(paths: Sequence[Path], out: Path) -> None:
    image = _opened(paths[0])
    width, height = image.width // 3, image.height // 3
    with zipfile.ZipFile(out / "peer.zip", "w") as archive:
        for n in range(9):
            left, top = n % 3 * width, n // 3 * height
            buffer = io.BytesIO()
            image.crop((left, top, left + width, top + height)).save(buffer, "JPEG", quality=90)
            archive.writestr(f"{n}.jpg", buffer.getvalue())


def _qr(_paths: Sequence[Path], out: Path) -> None:
    import segno

    segno.make("https://example.com", error="m", micro=False).save(str(out / "peer.png"), scale=12, border=4)


def _barcode(paths: Sequence[Path], _out: Path) -> object:
    import zxingcpp

    return zxingcpp.read_barcodes(np.asarray(Image.open(paths[0]).convert("L")))


def _pdf(paths: Sequence[Path], out: Path) -> None:
    first, *rest = [Image.open(path) for path in paths]
    first.save(out / "peer.pdf", save_all=True, append_images=rest)


def _pdf_page(paths: Sequence[Path], out: Path) -> None:
    import pypdfium2

    page = pypdfium2.PdfDocument(paths[0])[0]
    page.render(scale=150 / 72).to_pil().save(out / "peer.png")


def _svg(paths: Sequence[Path], out: Path) -> None:
    import pyvips

    pyvips.Image.svgload_buffer(paths[0].read_bytes(), scale=5).pngsave(str(out / "peer.png"))


def _vector(paths: Sequence[Path], out: Path) -> None:
    import vtracer

    image = Image.open(paths[0]).convert("L").resize((1000, 750)).point(lambda value: 255 * (value > 128))
    pixels = [(value, value, value, 255) for value in image.tobytes()]
    (out / "peer.svg").write_text(vtracer.convert_pixels_to_svg(pixels, image.size, colormode="binary"))


def _reversed(paths: Sequence[Path], out: Path) -> None:
    animation = Image.open(paths[0])
    frames = []
    for n in range(animation.n_frames):
        animation.seek(n)
        frames.append(animation.convert("RGB").quantize(256))
    frames.reverse()
    frames[0].save(out / "peer.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)


def _favicon(paths: Sequence[Path], out: Path) -> None:
    image = Image.open(paths[0])
    image.draft("RGB", (512, 512))
    square = ImageOps.pad(image.convert("RGBA"), (512, 512))
    for side in (16, 32, 48, 180, 192, 512):
        square.resize((side, side)).save(out / f"{side}.png")
    square.save(out / "favicon.ico", sizes=[(16, 16), (32, 32), (48, 48)])


def _web(paths: Sequence[Path], out: Path) -> None:
    image = _opened(paths[0])
    image.thumbnail((1600, 1600))
    image.save(out / "peer.webp", quality=80)


def _resaved(paths: Sequence[Path], out: Path) -> None:
    Image.open(paths[0]).save(out / "peer.jpg", quality="keep")


def _base64(paths: Sequence[Path], _out: Path) -> object:
    return base64.b64encode(paths[0].read_bytes())


def _renamed(paths: Sequence[Path], out: Path) -> None:
    with zipfile.ZipFile(out / "peer.zip", "w") as archive:
        for n, path in enumerate(paths):
            archive.write(path, f"image-{n}.jpg")


CASES = (
    Case(
        "optimize-for-web",
        {"format": "webp", "maxWidthPx": 1600, "maxHeightPx": 1600},
        "Pillow",
        _web,
        "await sharp(photo).resize(1600, 1600, {fit: 'inside'}).webp({quality: 80}).toFile(out)",
    ),
    Case("strip-metadata", {}, "Pillow", _resaved, "await sharp(photo).rotate().jpeg({quality: 90}).toFile(out)"),
    Case("edit-metadata", {"title": "By the sea"}, "Pillow", _resaved),
    Case("bulk-rename", {}, "zipfile", _renamed, inputs=("photo.jpg", "other.jpg", "small.jpg")),
    Case("image-to-pdf", {"pageSize": "original"}, "Pillow", _pdf, inputs=("photo.jpg", "other.jpg")),
    Case("favicon", {}, "Pillow", _favicon),
    Case(
        "color-adjustments",
        {"brightness": 10, "contrast": 20, "saturation": 20},
        "Pillow",
        _pillow(_adjusted),
        "await sharp(photo).linear(1.2, -25).modulate({brightness: 1.1, saturation: 1.2}).jpeg({quality: 80})"
        ".toFile(out)",
    ),
    Case(
        "sharpening",
        {"mode": "unsharp", "amount": 100, "radius": 1},
        "Pillow",
        _pillow(lambda image: image.filter(ImageFilter.UnsharpMask(1, 100, 0))),
        "await sharp(photo).sharpen({sigma: 1}).jpeg({quality: 80}).toFile(out)",
    ),
    Case(
        "replace-color",
        {"targetColor": "#C83C28", "replacementColor": "#145AC8", "tolerance": 60},
        "NumPy",
        _recolored,
    ),
    Case(
        "watermark-text",
        {"text": "© Darkroom", "fontSize": 96, "position": "bottom-right", "color": "#FFFFFF"},
        "Pillow",
        _pillow(_written),
    ),
    Case(
        "watermark-image",
        {},
        "Pillow",
        _stamped,
        "await sharp(photo).composite([{input: await sharp(folder + '/logo.png').resize(1008).toBuffer(), "
        "gravity: 'southeast'}]).jpeg({quality: 80}).toFile(out)",
        ("photo.jpg", "logo.png"),
    ),
    Case(
        "text-overlay",
        {"text": "A day by the sea", "fontSize": 96, "background": "#000000"},
        "Pillow",
        _pillow(_written),
    ),
    Case(
        "compose",
        {"x": 100, "y": 100, "blend": "multiply"},
        "Pillow",
        _multiplied,
        "await sharp(photo).composite([{input: folder + '/small.jpg', left: 100, top: 100, blend: 'multiply'}])"
        ".jpeg({quality: 80}).toFile(out)",
        ("photo.jpg", "small.jpg"),
    ),
    Case("find-duplicates", {}, "Pillow, NumPy", _hashed, inputs=("photo.jpg", "other.jpg")),
    Case("color-palette", {}, "Pillow", _palette),
    Case("qr-generate", {"data": "https://example.com"}, "segno", _qr, inputs=()),
    Case("barcode-read", {}, "zxing-cpp", _barcode, inputs=("coded.jpg",)),
    Case("image-to-base64", {}, "base64", _base64, inputs=("small.jpg",)),
    Case(
        "collage",
        {"template": "4-grid", "outputFormat": "jpeg"},
        "Pillow",
        _collage,
        inputs=("photo.jpg", "other.jpg", "photo.jpg", "other.jpg"),
    ),
    Case("stitch", {"format": "jpeg"}, "Pillow", _stitched, inputs=("photo.jpg", "other.jpg")),
    Case(
        "split",
        {},
        "Pillow",
        _split,
        "const raw = await sharp(photo).raw().toBuffer({resolveWithObject: true}); for (let n = 0; n < 9; n++) await "
        "sharp(raw.data, {raw: raw.info}).extract({left: n % 3 * 1344, top: Math.floor(n / 3) * 1008, width: 1344, "
        "height: 1008}).jpeg({quality: 90}).toBuffer()",
    ),
    Case(
        "border",
        {"width": 40, "color": "#202020"},
        "Pillow",
        _pillow(lambda image: ImageOps.expand(image, 40, (32, 32, 32))),
        "await sharp(photo).extend({top: 40, bottom: 40, left: 40, right: 40, background: '#202020'})"
        ".jpeg({quality: 80}).toFile(out)",
    ),
    Case(
        "svg-to-raster",
        {"width": 2000, "dpi": 96},
        "librsvg",
        _svg,
        "await sharp(folder + '/drawing.svg', {density: 360}).resize(2000).png().toFile(out)",
        ("drawing.svg",),
    ),
    Case("vectorize", {}, "vtracer", _vector, inputs=("photo.jpg",)),
    Case(
        "gif-tools",
        {"action": "reverse"},
        "Pillow",
        _reversed,
        inputs=("animation.gif",),
    ),
    Case("pdf-to-image", {"dpi": 150}, "pypdfium2", _pdf_page, inputs=("document.pdf",)),
)
