"""A Darkroom for the crash test, run as `python generative_server.py FOLDER ENGINE_URL KEY MODEL MODE`; it says what it did.

Modes: `start` accepts a call and runs it until it is killed, `again` ends what was left and then gets the same call.
"""

import asyncio
import sys
from pathlib import Path

from darkroom.app import open_darkroom
from darkroom.config import Config
from darkroom.principal import LOCAL
from darkroom_tools.registry import builtin_tools

CALL = {"prompt": "A lighthouse"}


async def main(folder: Path, url: str, key: str, model: str, mode: str) -> None:
    config = Config(data_dir=folder, workers=1, images_url=url, images_key=key, images_model=model)
    async with open_darkroom(config) as room:
        if mode == "again":
            left = sys.stdin.readline().strip()
            job = await room.jobs.wait(LOCAL, left, None)
            print("left", job.state, job.result.items[0].images[0] if job.result else job.error, flush=True)
        job = await room.jobs.accept(LOCAL, builtin_tools()["generate-image"], CALL)
        print("accepted", job.id, flush=True)
        job = await room.jobs.wait(LOCAL, job.id, None) if not job.ended else job
        print("ended", job.state, job.result.items[0].images[0] if job.result else job.error, flush=True)


asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
