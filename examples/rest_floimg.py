"""A workflow over the REST API of FloImg.

    python examples/rest_floimg.py http://127.0.0.1:1349/v1 KEY "Web-ready picture" RESULTS image=@photo.jpg width=800

Finds the workflow by its name, tells what parameters it takes, and runs it with those given. `name=@file` uploads a
picture to the storage first and gives its address; `--project` says into which project. With `--async` it asks for the
execution until it is done.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

LONGEST_SECONDS = 300


class FloImg:
    """A client of the API.

    Args:
        base: Its address, with `/v1` at the end.
        key: Such as `fsk_live_…`.
    """

    def __init__(self, base: str, key: str) -> None:
        self._http = httpx2.Client(base_url=base.rstrip("/"), headers={"Authorization": f"Bearer {key}"}, timeout=90)

    def __call__(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """What came back; an error ends the program with its words."""
        answer = self._http.request(method, path, **options)
        body: dict[str, Any] = answer.json()
        if "error" in body and answer.is_error:
            sys.exit(f"{body['error']['code']}: {body['error']['message']}")
        return body

    def every(self, path: str, name: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        while True:
            page = self("GET", path, params={"limit": 100, "offset": len(found)})
            found += page[name]
            if not page["hasMore"]:
                return found

    def project(self, name: str) -> str:
        """Id of the project of that name; a new one if there is none."""
        known = {project["name"]: project["id"] for project in self.every("/projects", "projects")}
        return str(known.get(name) or self("POST", "/projects", json={"name": name})["id"])

    def upload(self, picture: Path, project: str | None) -> str:
        """Address of a picture in the storage."""
        form = {"name": picture.name, **({"projectId": project} if project else {})}
        with picture.open("rb") as file:
            return str(self("POST", "/storage/upload", files={"file": (picture.name, file)}, data=form)["url"])

    def finished(self, execution: str, every: float) -> dict[str, Any]:
        """The execution once it ended."""
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until:
            state = self("GET", f"/workflows/executions/{execution}")
            print(f"  {state['status']}")
            if state["status"] == "completed":
                return state
            if state["status"] == "failed":
                sys.exit(f"{state['error']['code']}: {state['error']['message']}")
            time.sleep(every)
        sys.exit("It takes too long; the execution goes on, ask for it later.")

    def save(self, url: str, target: Path) -> None:
        """Download a picture; its address needs no key."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(httpx2.get(url).raise_for_status().content)
        print(target)


def value_of(text: str, kind: str) -> Any:
    """A parameter as the workflow wants it."""
    if kind == "number":
        return float(text)
    if kind == "boolean":
        return text.lower() in ("true", "yes", "1")
    return text


def main(flo: FloImg, given: argparse.Namespace) -> None:
    """Run the workflow and save what it made."""
    named = {each["name"]: each["id"] for each in flo.every("/workflows", "workflows")}
    if given.workflow not in named:
        sys.exit(f"There is no workflow {given.workflow!r}. There are: {', '.join(named)}.")
    details = flo("GET", f"/workflows/{named[given.workflow]}")
    kinds = {}
    for each in details["parameters"]:
        kinds[each["name"]] = each["type"]
        print(f"{each['name']} ({each['type']}{', required' if each.get('required') else ''})")
    project = flo.project(given.project) if given.project else None
    parameters: dict[str, Any] = {}
    for name, _, text in (word.partition("=") for word in given.parameters):
        value = flo.upload(Path(text[1:]), project) if text.startswith("@") else value_of(text, kinds.get(name, ""))
        if kinds.get(name) == "array":
            parameters.setdefault(name, []).append(value)
        else:
            parameters[name] = value
    body = {"workflowId": details["id"], "parameters": parameters, "async": given.asynchronous}
    state = flo("POST", "/workflows/execute", json=body)
    if state["status"] == "pending":
        state = flo.finished(state["executionId"], given.every)
    url = state["output"]["url"]
    flo.save(url, given.results / f"{details['id']}{Path(url).suffix}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("key")
    parser.add_argument("workflow")
    parser.add_argument("results", type=Path)
    parser.add_argument("parameters", nargs="*", metavar="name=value")
    parser.add_argument("--project")
    parser.add_argument("--async", dest="asynchronous", action="store_true")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two questions")
    chosen = parser.parse_intermixed_args()
    main(FloImg(chosen.base, chosen.key), chosen)
