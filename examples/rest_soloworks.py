"""A photo through a workflow over the REST API of Solo Works, with nothing but Python's standard library.

    python examples/rest_soloworks.py http://127.0.0.1:1349/api/v1 KEY PHOTO RESULTS

The four calls of its Quick Start: list the workflows, ask one for its inputs, execute it with a photo as a data URL, and
ask how it stands until it is done. Without --workflow it is 單色棚拍風, a plain studio look; every text field that has
presets gets its first one.
"""

import argparse
import base64
import json
import mimetypes
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

STUDIO = "79c9e172-637f-44db-9beb-39092ff4d462"
LONGEST_SECONDS = 300


class SoloWorks:
    """A client of the API.

    Args:
        base: Its address, with `/api/v1` at the end.
        key: Such as `sk_live_…`.
    """

    def __init__(self, base: str, key: str) -> None:
        self.base = base.rstrip("/")
        self.key = key

    def __call__(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """GET an address, or POST a body to it; what came back."""
        request = urllib.request.Request(
            self.base + path,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            sys.exit(f"{error.code}: {json.load(error)['error']['message']}")

    def finished(self, execution: str, every: float) -> dict[str, Any]:
        """The execution once it ended."""
        until = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < until:
            state = self(f"/executions/{execution}")
            print(f"  {state['status']} {state['progress']} %")
            if state["status"] != "running":
                return state
            time.sleep(every)
        sys.exit("It takes too long; the execution goes on, ask for it later.")


def data_url(photo: Path) -> str:
    """The photo as it travels inside JSON."""
    kind = mimetypes.guess_type(photo)[0] or "image/jpeg"
    return f"data:{kind};base64,{base64.b64encode(photo.read_bytes()).decode()}"


def inputs_for(fields: dict[str, Any], photo: Path) -> dict[str, Any]:
    """What to execute a workflow with: the photo wherever a picture must be, and the first preset of every text."""
    presets = {field["fieldId"]: field.get("presetOptions") for field in fields["textFields"]}
    return {
        "images": {field["fieldId"]: data_url(photo) for field in fields["imageFields"] if field["required"]},
        "texts": {name: options[0]["optionId"] for name, options in presets.items() if options},
    }


def main(base: str, key: str, photo: Path, results: Path, workflow: str, every: float) -> None:
    """Run the workflow and save what it made."""
    solo = SoloWorks(base, key)
    for each in solo("/workflows")["workflows"]:
        print(f"{each['id']}  {each['creditCost']['max']} credits  {each['name']} ({', '.join(each['tags'])})")
    detail = solo(f"/workflows/{workflow}")
    print(f"\n{detail['name']}: {detail['description']}")
    execution = solo(f"/workflows/{workflow}/execute", inputs_for(detail["inputs"], photo))["executionId"]
    state = solo.finished(execution, every)
    if state["status"] == "failed":
        sys.exit(state["error"]["message"])
    results.mkdir(parents=True, exist_ok=True)
    for number, made in enumerate(state["results"], 1):
        for ending in ("jpg", "png"):
            if made[f"{ending}Url"]:
                target = results / f"{photo.stem}-{number}.{ending}"
                urllib.request.urlretrieve(made[f"{ending}Url"], target)
                print(target)
    print(f"{state['creditsUsed']} credits used, {solo('/balance')['apiCredits']} left")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("key")
    parser.add_argument("photo", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--workflow", default=STUDIO)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two questions")
    given = parser.parse_args()
    main(given.base, given.key, given.photo, given.results, given.workflow, given.every)
