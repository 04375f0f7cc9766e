"""Tools that misbehave on purpose, for the tests of the pool; workers import this module, so it stays free of codecs."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from darkroom_tools.base import File, Image, Report, Run, Settings, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.native import np, pyvips

LIMITS = ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_CPU")


class Rounds(Settings):
    rounds: int = 1
    """How often."""


class Where(Settings):
    inside: bool = False
    """True to compute in the tool."""


class Death(Settings):
    by: Literal["segv", "kill", "exit", "abort"] = "segv"
    """How."""


class Secret(Settings):
    text: str = ""
    """What the exception says."""


class Size(Settings):
    side: int = 1
    """Pixels."""


class Lie(Settings):
    kind: Literal["traversal", "missing", "folder", "nonsense", "huge", "junk", "ask twice", "ask much"] = "traversal"
    """Which."""


class Many(Settings):
    requests: int = 1
    """Requests."""
    floats: int = 1
    """Numbers of each."""
    stop: int = 0
    """Answers after which the tool stops; 0 for never."""


class Answer(Report):
    values: dict[str, Any]


@tool(title="Pass", sequential=True)
def pass_on(image: Image) -> Image:
    """Change nothing."""
    return image.with_facts(passed=True).warn("nothing was done")


@tool(title="Blur")
def blur_much(image: Image, settings: Rounds) -> Image:
    """Work natively for long: many blurs, lazily, so that the encode does it all."""
    pixels = image.pixels
    for _ in range(settings.rounds):
        pixels = pixels.gaussblur(20)
    return image.with_pixels(pixels)


@tool(title="Median")
def median(image: Image, settings: Where, run: Run) -> Image:
    """Work natively for minutes, in the encode or inside the tool."""
    run.progress(0.1, "working")
    pixels = image.pixels.rank(41, 41, 800)
    return image.with_pixels(pixels.copy_memory() if settings.inside else pixels)


@tool(title="Hang")
def hang(image: Image, run: Run) -> Image:
    """Write half a result, then never look up again."""
    folder = Path(os.environ["TMPDIR"]).parent / "out"
    (folder / "half.jpg").write_bytes(b"half")
    run.progress(0.5, "hanging")
    while True:
        pass


@tool(title="Count")
def count(image: Image, run: Run) -> Image:
    """Report progress, falling at times."""
    for fraction in (0.2, 0.8, 0.4, 1.0):
        run.progress(fraction, f"at {fraction}\x1b[31m")
    return image


@tool(title="Die")
def die(image: Image, settings: Death) -> Image:
    """End the process."""
    if settings.by == "exit":
        os._exit(3)
    if settings.by == "abort":
        os.abort()
    os.kill(os.getpid(), signal.SIGSEGV if settings.by == "segv" else signal.SIGKILL)
    return image


@tool(title="Process")
def process(image: Image) -> Answer:
    """Say which process this is and what it can see."""
    return Answer(
        values={
            "pid": os.getpid(),
            "parent": os.getppid(),
            "environment": dict(os.environ),
            "input": os.read(0, 1).decode(),
            "limits": {name: resource.getrlimit(getattr(resource, name))[0] for name in LIMITS},
        }
    )


@tool(title="Raise")
def raise_text(image: Image, settings: Secret) -> Image:
    """Fail with a text of the host."""
    raise ValueError(settings.text)


@tool(title="Refuse")
def refuse(image: Image, settings: Secret) -> Image:
    """Fail with a public error."""
    raise InvalidSettings(settings.text, field="text")


@tool(title="Enlarge")
def enlarge(image: Image, settings: Size) -> Image:
    """Make a picture of that side."""
    return image.with_pixels(pyvips.Image.black(settings.side, settings.side, bands=3).copy(interpretation="srgb"))


@tool(title="Eat")
def eat(image: Image, settings: Size) -> Image:
    """Take more memory than allowed: in Python for side 1, in libvips otherwise."""
    if settings.side == 1:
        return image.with_pixels(pyvips.Image.new_from_memory(bytearray(5 * 2**30), 1, 1, 1, "uchar"))
    return image.with_pixels(pyvips.Image.black(settings.side, settings.side).copy_memory())


@tool(title="Twice")
def twice(image: Image) -> list[Image]:
    """Answer with two pictures."""
    return [image, image.with_pixels(image.pixels.invert())]


@tool(title="As file")
def as_file(image: Image) -> list[File]:
    """Answer with a PNG that is not to be touched, and a text."""
    png = image.pixels.pngsave_buffer()
    return [File(png, "image/png", "png", facts={"made": "png"}), File(b"text", "text/plain", "txt")]


@tool(title="Much")
def report_much(image: Image) -> Answer:
    """Answer with more facts than allowed."""
    return Answer(values={"text": "x" * 300_000})


@tool(title="Both")
def beside(images: list[Image]) -> Image:
    """Join pictures."""
    return images[0].with_pixels(pyvips.Image.arrayjoin([image.pixels for image in images]))


@tool(title="Add", models=("adder",))
def add_one(image: Image, run: Run) -> Answer:
    """Ask a model."""
    result = run.infer("adder", [np.arange(6, dtype=np.float32).reshape(2, 3)])
    values = {"sum": result.outputs[0].sum().item(), "device": result.device, "installed": run.installed("adder")}
    return Answer(values=values)


@tool(title="Add to each", models=("adder",))
def add_to_each(image: Image, settings: Many, run: Run) -> Answer:
    """Ask a model many times, and stop early if told so; what was drawn counts requests that were made."""
    drawn: list[int] = []

    def requests() -> Iterator[list[Any]]:
        for n in range(settings.requests):
            drawn.append(n)
            yield [np.full((1, settings.floats), n, np.float32)]

    got: list[float] = []
    kept: list[Any] = []
    for answer in run.infer_each("adder", requests()):
        kept += answer.outputs
        got.append(answer.outputs[0][0, 0].item())
        run.progress(len(got) / settings.requests, f"{len(got)} of {settings.requests}")
        if len(got) == settings.stop:
            break
    after = run.infer("adder", [np.zeros((1, 1), np.float32)]) if settings.stop else None
    return Answer(values={"got": got, "drawn": len(drawn), "after": after and after.outputs[0].item()})


@tool(title="Lie")
def lie(image: Image, settings: Lie, run: Run) -> Image:
    """Answer like a worker that an attacker has taken over."""
    from darkroom.engine import worker
    from darkroom.engine.shared import write_array

    out = Path(os.environ["TMPDIR"]).parent / "out"
    name = {"traversal": "../in/0", "missing": "gone.png", "folder": "sub"}
    facts = {"format": "png", "media_type": "image/png", "bytes": 1}
    if settings.kind == "folder":
        (out / "sub").mkdir()
    answer = {"type": "done", "inputs": [], "outputs": [{"name": name.get(settings.kind, "x"), "picture": facts}]}
    if settings.kind == "nonsense":
        answer = {"type": "rule", "the": "world"}
    if settings.kind == "huge":
        answer = {"type": "done", "inputs": [], "facts": {"x": "y" * 300_000}}
    if settings.kind == "junk":
        answer = {"type": "done", "inputs": [], "outputs": [], "owner": "me"}
    if settings.kind.startswith("ask"):
        send = run._work._ask.__self__._send  # type: ignore[attr-defined]
        numbers = [7, 7] if settings.kind == "ask twice" else range(100)
        for number in numbers:
            meta, fd = write_array(np.zeros(1, np.float32))
            send({"type": "infer", "id": number, "request": {"model": "adder", "inputs": [meta]}}, [fd])
            os.close(fd)
    worker._done = lambda outcome: answer
    return image


@tool(title="Try")
def try_forbidden(image: Image) -> Answer:
    """Try what a worker may not do; say what happened to each."""
    here = Path(os.environ["TMPDIR"]).parent
    neighbours = [here.parent / f"worker-{n}" for n in range(2) if f"worker-{n}" != here.name]
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace() -> None:
        if libc.ptrace(16, os.getppid(), 0, 0) == -1:
            raise OSError(ctypes.get_errno(), "ptrace")

    def unshare() -> None:
        if libc.unshare(0x10000000) == -1:
            raise OSError(ctypes.get_errno(), "unshare")

    attempts: dict[str, Callable[[], Any]] = {
        "read /etc/passwd": lambda: Path("/etc/passwd").read_text(),
        "list the run folder": lambda: list(here.parent.iterdir()),
        "list another worker": lambda: [list(f.iterdir()) for f in neighbours],
        "write outside": lambda: (here.parent / "owned").write_text("x"),
        "write the input": lambda: (here / "in" / "0").open("r+b").close(),
        "remove the input": lambda: (here / "in" / "0").unlink(),
        "change the input's mode": lambda: (here / "in" / "0").chmod(0o777),
        "link the input": lambda: (here / "out" / "x").hardlink_to(here / "in" / "0"),
        "make a symlink": lambda: (here / "out" / "y").symlink_to("/etc/passwd"),
        "open a TCP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "open a Unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
        "run a program": lambda: subprocess.run(["/bin/true"], check=True),
        "fork": lambda: os.fork() or os._exit(0),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "trace the parent": ptrace,
        "leave the namespace": unshare,
        "load an SVG": lambda: pyvips.Image.new_from_buffer(b"<svg xmlns='http://www.w3.org/2000/svg'/>", ""),
        "write its output": lambda: (here / "out" / "fine").write_text("x"),
        "write its tmp": lambda: (here / "tmp" / "fine").write_text("x"),
        "read its input": lambda: (here / "in" / "0").read_bytes(),
        "start a thread": lambda: threading.Thread(target=lambda: None).start(),
        "import a module late": lambda: __import__("xmlrpc.client"),
    }
    happened = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            happened[name] = "allowed"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
            happened[name] = type(error).__name__
    return Answer(values=happened)


_jobs = 0


@tool(title="Die if used")
def die_if_used(image: Image, run: Run) -> Image:
    """Work in a new process only."""
    global _jobs
    _jobs += 1
    run.progress(0.6 if _jobs == 1 else 0.9)
    if _jobs > 1:
        os._exit(1)
    return image.with_facts(jobs=_jobs)
