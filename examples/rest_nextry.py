"""A picture over the REST API of Nextry.

    python examples/rest_nextry.py http://127.0.0.1:1349 KEY fashion_swap RESULTS clothes=@clothes.png person=@person.png

Lists the tools and the generation types of the one that was asked for, makes a picture, saves preview and stock image,
and likes it in the history. `--type` chooses a generation type by its title. `--forget` deletes the record at the end.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2

LONGEST_SECONDS = 300


class Nextry:
    """A client of the API.

    Args:
        base: Its address.
        key: As the operator issued it.
    """

    def __init__(self, base: str, key: str) -> None:
        self._http = httpx2.Client(base_url=base.rstrip("/"), headers={"Authorization": f"Bearer {key}"}, timeout=90)

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        """What came back; an error ends the program with its words."""
        answer = self._http.request(method, path, **options)
        if answer.is_error:
            detail = answer.json()["detail"]
            words = detail if isinstance(detail, str) else "; ".join(each["msg"] for each in detail)
            sys.exit(f"{answer.status_code}: {words}")
        return answer.json() if answer.content else None

    def finished(self, item: str, every: float) -> dict[str, Any]:
        """The generation once it ended."""
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until:
            found: dict[str, Any] = self("GET", f"/user/generation-history/{item}")
            print(f"  {found['status']}")
            if found["status"] == "complete":
                return found
            if found["status"] == "error":
                sys.exit("The generation failed.")
            time.sleep(every)
        sys.exit("It takes too long; the generation goes on, ask for it later.")

    def save(self, path: str, target: Path) -> None:
        """Download a result; its path is relative to the server's address."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self._http.get(f"/{path.lstrip('/')}").raise_for_status().content)
        print(target)


def main(nextry: Nextry, given: argparse.Namespace) -> None:
    """Make a picture and save it."""
    for row in nextry("GET", "/generation/tools"):
        print(f"{row['group_tool']}: {row['tool']} ({row['title']})")
    form = {"tool": given.tool}
    for kind in nextry("GET", "/generation/generationTypes", params={"tool": given.tool}):
        print(f"  {kind['id']}  {kind['title']}")
        if kind["title"] == given.type:
            form["generation_type"] = kind["id"]
    with ExitStack() as opened:
        files: list[Any] = []
        for name, _, text in (word.partition("=") for word in given.fields):
            if text.startswith("@"):
                files.append((name, (Path(text[1:]).name, opened.enter_context(Path(text[1:]).open("rb")))))
            else:
                form[name] = text
        parts = [(name, (None, text)) for name, text in form.items()]  # one without files is a multipart form too
        made = nextry("POST", "/generation/generate_image_v2/", files=[*parts, *files])
    found = nextry.finished(made["history_item_id"], given.every)
    for url in (found["preview_url"], found["stock_url"]):
        nextry.save(url, given.results / f"{given.tool}{Path(url).suffix}")
    nextry("PATCH", f"/user/generation-history/feedback/{found['id']}", json={"like": True})
    wanted = {"page": 1, "limit": 20, "status": "complete", "generation_type": found["generation_type"]}
    history = nextry("GET", "/user/generation-history", params=wanted)
    print(f"{history['total_count']} made this way, {sum(bool(each['like']) for each in history['items'])} liked")
    if given.forget:
        nextry("DELETE", f"/user/generation-history/{found['id']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("key")
    parser.add_argument("tool")
    parser.add_argument("results", type=Path)
    parser.add_argument("fields", nargs="*", metavar="name=value")
    parser.add_argument("--type", help="title of a generation type")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two questions")
    parser.add_argument("--forget", action="store_true", help="delete the record at the end")
    chosen = parser.parse_intermixed_args()
    main(Nextry(chosen.base, chosen.key), chosen)
