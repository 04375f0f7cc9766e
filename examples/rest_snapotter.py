"""A client of the REST API in the manner of Stirling Image ("snapotter"): key, resize, batch, pipeline, progress.

    python examples/rest_snapotter.py BASE_URL PHOTOS RESULTS --key si_…
    python examples/rest_snapotter.py BASE_URL PHOTOS RESULTS --user admin --password …

With a password it logs in and makes a key of its own first. PHOTOS is a folder; what is made goes into RESULTS.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2


class RestFailed(Exception):
    """The server said no; in its own words."""


class Stirling:
    """A server and a key to it."""

    def __init__(self, base_url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=300)

    def log_in(self, username: str, password: str) -> str:
        """A session token, valid for a day."""
        credentials = {"username": username, "password": password}
        return str(self._json("POST", "/api/auth/login", json=credentials)["token"])

    def make_key(self, name: str) -> str:
        """A key, which is shown this once."""
        return str(self._json("POST", "/api/v1/api-keys", json={"name": name})["key"])

    def run(self, tool: str, photo: Path, **settings: Any) -> httpx2.Response:
        """Run a tool on a photo; the answer is the file it made."""
        return self._form(f"/api/v1/tools/{tool}", [("file", photo)], settings=settings)

    def run_batch(self, tool: str, photos: list[Path], **settings: Any) -> httpx2.Response:
        """Run a tool on many photos; the answer is a ZIP."""
        return self._form(f"/api/v1/tools/{tool}/batch", [("files", photo) for photo in photos], settings=settings)

    def run_pipeline(self, photo: Path, steps: list[dict[str, Any]]) -> httpx2.Response:
        """Run several tools on a photo; the answer is what the last one made."""
        return self._form("/api/v1/pipeline/execute", [("file", photo)], pipeline=steps)

    def progress(self, job: str) -> Iterator[dict[str, Any]]:
        """How far a job is, until its end."""
        with self._http.stream("GET", f"/api/v1/jobs/{job}/progress") as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def _form(self, path: str, photos: list[tuple[str, Path]], **fields: Any) -> httpx2.Response:
        files = [(field, (photo.name, photo.read_bytes())) for field, photo in photos]
        return self._checked("POST", path, files=files, data={name: json.dumps(held) for name, held in fields.items()})

    def _json(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        held: dict[str, Any] = self._checked(method, path, **body).json()
        return held

    def _checked(self, method: str, path: str, **body: Any) -> httpx2.Response:
        answer = self._http.request(method, path, **body)
        if not answer.is_success:
            raise RestFailed("{code}: {error}".format(**answer.json()))
        return answer


def save(answer: httpx2.Response, target: Path) -> None:
    """Write what came back."""
    target.write_bytes(answer.content)
    print(f"{target}  ({len(answer.content):,} bytes)")


def main(server: Stirling, photos: list[Path], results: Path) -> None:
    """Resize one, compress all, and run three tools on one."""
    results.mkdir(parents=True, exist_ok=True)
    first = photos[0]
    save(server.run("resize", first, width=800, height=600, fit="inside"), results / f"small{first.suffix}")
    save(server.run_batch("compress", photos, quality=80), results / "compressed.zip")
    steps = [
        {"toolId": "resize", "settings": {"width": 1200}},
        {"toolId": "compress", "settings": {"quality": 80}},
        {"toolId": "watermark-text", "settings": {"text": "© 2025"}},
    ]
    marked = server.run_pipeline(first, steps)
    save(marked, results / f"marked{first.suffix}")
    for moment in server.progress(marked.headers["X-Job-Id"]):
        print(f"{moment['progress']:3} % {moment['status']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url", metavar="BASE_URL", help="such as http://localhost:1349")
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("results", metavar="RESULTS", type=Path)
    parser.add_argument("--key")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password")
    given = parser.parse_args()
    key = given.key
    if key is None:
        session = Stirling(given.base_url, Stirling(given.base_url).log_in(given.user, given.password))
        key = session.make_key("my-script")
    main(Stirling(given.base_url, key), sorted(given.photos.glob("*.jpg")), given.results)
