"""A workflow of autoRetouch's REST API over a folder's pictures, or over one.

    python examples/rest_autoretouch.py http://127.0.0.1:1349 "Product on white" RESULTS photo.jpg ground=cream --key KEY

Lists the workflows, tells the price and the components of the chosen one, and runs it on each picture: upload,
execution, status, result. `name=value` are further settings of the workflow, `--label name=value` your words on the
executions. Without `--key` it asks to be signed in: open the address that it prints, and approve the code.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}


class AutoRetouch:
    """A client of the API.

    Args:
        base: Its address.
        key: An access token or a key; None to be signed in.
    """

    def __init__(self, base: str, key: str | None) -> None:
        self._http = httpx2.Client(base_url=base.rstrip("/"), timeout=330)
        self._http.headers["Authorization"] = f"Bearer {key or self._signed_in()}"
        self.organization: str = self("GET", "/v1/organization").json()["entries"][0]["id"]

    def __call__(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """What came back; an error ends the program with its words."""
        answer = self._http.request(method, path, **options)
        if answer.is_error:
            body = answer.json()
            sys.exit(f"{body['status']} {body['error']}: {body['message'] or body['path']}")
        return answer

    def workflows(self) -> list[dict[str, Any]]:
        """All pages of the list."""
        found: list[dict[str, Any]] = []
        while True:
            asked = {"organization": self.organization, "limit": 50, "offset": len(found)}
            page = self("GET", "/v1/workflow", params=asked).json()
            found += page["entries"]
            if not page["entries"] or len(found) >= page["total"]:
                return found

    def workflow(self, identifier: str) -> dict[str, Any]:
        """One of them, with all settings of its components."""
        asked = {"organization": self.organization}
        details: dict[str, Any] = self("GET", f"/v1/workflow/{identifier}", params=asked).json()
        return details

    def run(self, workflow: dict[str, Any], picture: Path, settings: dict[str, Any], labels: dict[str, str]) -> str:
        """Upload a picture and start an execution; its id."""
        asked = {"organization": self.organization}
        with picture.open("rb") as file:
            content = self("POST", "/v1/upload", params=asked, files={"file": (picture.name, file)}).text
        body = {"image": {"name": picture.name, "contentHash": content}, "settings": settings, "labels": labels}
        asked |= {"workflow": workflow["id"], "version": workflow["version"]}
        return self("POST", "/v1/workflow/execution/create", params=asked, json=body).text

    def follow(self, execution: str) -> None:
        """Print each status until the last one."""
        path = f"/v1/workflow/execution/{execution}/status"
        with self._http.stream("GET", path, params={"organization": self.organization}) as events:
            for line in events.iter_lines():
                if line.startswith("data:"):
                    print(f"  {line.removeprefix('data:').strip()}")

    def save(self, execution: str, results: Path) -> None:
        """Wait for the result and write it."""
        asked = {"organization": self.organization}
        data = self("GET", f"/v1/workflow/execution/{execution}/result/default", params=asked).content
        told = self("GET", f"/v1/workflow/execution/{execution}", params=asked).json()
        target = results / told["resultFileName"]
        target.write_bytes(data)
        print(f"{target}  ({told['chargedCredits']} credits)")

    def _signed_in(self) -> str:
        """An access token, once somebody approved the code."""
        asked = self._http.post("/oauth/device/code", data={"client_id": "rest_autoretouch.py"}).json()
        print(f"Open {asked['verification_uri_complete']} and approve {asked['user_code']}.", flush=True)
        body = {"grant_type": DEVICE, "device_code": asked["device_code"], "client_id": "rest_autoretouch.py"}
        while True:
            answer = self._http.post("/oauth/token", data=body).json()
            if "access_token" in answer:
                return str(answer["access_token"])
            if answer["error"] not in ("authorization_pending", "slow_down"):
                sys.exit(answer["error_description"])
            time.sleep(asked["interval"])


def pairs(words: list[str]) -> dict[str, str]:
    """`name=value` by name."""
    return dict(word.partition("=")[::2] for word in words)


def main(retouch: AutoRetouch, given: argparse.Namespace) -> None:
    """Run the workflow and save what it made."""
    named = {workflow["name"]: workflow["id"] for workflow in retouch.workflows()}
    if given.workflow not in named:
        sys.exit(f"There is no workflow {given.workflow!r}. There are: {', '.join(named)}.")
    workflow = retouch.workflow(named[given.workflow])
    print(f"Workflow: {workflow['name']}")
    print(f"Price: {workflow['executionPrice']} credits")
    print(f"Components: {', '.join(part['label'] for part in workflow['workflowComponents'])}")
    pictures = sorted(given.source.iterdir()) if given.source.is_dir() else [given.source]
    given.results.mkdir(parents=True, exist_ok=True)
    for picture in (each for each in pictures if each.suffix.lower() in ENDINGS):
        execution = retouch.run(workflow, picture, pairs(given.settings), pairs(given.label))
        retouch.follow(execution)
        retouch.save(execution, given.results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("workflow")
    parser.add_argument("results", type=Path)
    parser.add_argument("source", type=Path, help="a picture, or a folder of them")
    parser.add_argument("settings", nargs="*", metavar="name=value")
    parser.add_argument("--label", action="append", default=[], metavar="name=value")
    parser.add_argument("--key")
    chosen = parser.parse_intermixed_args()
    main(AutoRetouch(chosen.base, chosen.key), chosen)
