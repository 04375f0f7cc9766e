"""Runs plans of which some steps belong to an image engine, and all others to this machine's workers.

A plan is cut at its generative steps. What such a step starts from is made by workers first and leaves as plain bytes:
upright, without metadata, small. What the engine answers goes through a worker like any upload before anything else
sees it, and is then an input of the steps behind it. While the engine is asked, nobody holds a slot.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from darkroom.engine.attaching import attach_mask, attach_picture, take_picture
from darkroom.engine.outcome import Outcome, Picture, Progress
from darkroom.engine.sniff import DOCUMENTS
from darkroom.errors import EngineAnswerInvalid, EngineNotConfigured
from darkroom.executors.cuts import ancestors, generation_of, part, shares
from darkroom.executors.local import Away, Emit, Finished, LocalExecutor
from darkroom.generative.client import Answer, ImagesClient, Sent
from darkroom.generative.memory import Memory
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError, ProcessingCrashed, ProcessingTimeout, UnsupportedFormat
from darkroom_tools.generation import Attachment, Generation, differs
from darkroom_tools.plan import Plan, Step, input_ref, step_ref

__all__ = ["Executor", "SegmentedExecutor"]

ASKING: Final = "Waiting for the image engine"
TICK_SECONDS: Final = 2.0
USUAL_SECONDS: Final = 30.0
"""What progress while waiting is measured by: after so long it is at two thirds of its share."""
FAR_OFF: Final = 0.03
"""Ratios that are closer are called the same."""
ATTACHED: Final = "engine.attached"
"""No step of a caller has a dot in its id."""
TAKE: Final = Plan((Step("engine.taken", take_picture.id, {}, {"image": (input_ref(0),)}),))

Temporary = Callable[[], AbstractContextManager[Path]]


@dataclass
class _Course:
    """One plan under way.

    Attributes:
        known: The stored bytes behind the references that need no more work.
        pictures: Facts of the inputs.
        facts: What engines said, for the reply.
        warnings: Sentences for the caller.
    """

    plan: Plan
    names: Mapping[str, str]
    wall: float | None
    away: Away
    job: str
    known: dict[str, str]
    pictures: list[Picture] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class SegmentedExecutor:
    """Runs any plan: local parts by `local`, generative steps by `engine`.

    Args:
        local: Runs what needs no engine.
        engine: Makes pictures; None where no address is configured.
        tools: All built-in tools by id.
        temporary: An empty file on the store's disk that goes at the end.
        stored: Whether bytes with this SHA-256 are here.
        memory: What engines made lately; None to always ask.
        at_once: Requests that the engine gets at once; others wait, without a slot.
        clock: Seconds, for progress.
        tick_seconds: How often progress is told while the engine is asked.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        local: LocalExecutor,
        engine: ImagesClient | None,
        *,
        tools: Mapping[str, Tool],
        temporary: Temporary,
        stored: Callable[[str], bool],
        memory: Memory | None = None,
        at_once: int = 4,
        clock: Callable[[], float] = time.monotonic,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._local = local
        self._engine = engine
        self._tools = tools
        self._temporary = temporary
        self._stored = stored
        self._memory = memory
        self._room = asyncio.Semaphore(at_once)
        self._clock = clock
        self._tick_seconds = tick_seconds

    def check(self, plan: Plan) -> str:
        """Refuse a plan that cannot be carried out here, before it is queued.

        Returns:
            What results depend on beside the plan: the engine and its model, or nothing.

        Raises:
            EngineNotConfigured: It has a generative step, and no engine is configured.
            EngineRequestRefused: The engine's model cannot do what a step asks for.
            InvalidSettings: A generative step does not fit its pictures.
        """
        steps = [step for step in plan.steps if self._is_generative(step)]
        if not steps:
            return ""
        engine = self._configured()
        for step in steps:
            engine.check(generation_of(self._tools[step.tool], step))
        return engine.identity

    async def run(
        self,
        plan: Plan,
        digests: Sequence[str],
        emit: Emit = lambda _: None,
        wall_seconds: float | None = None,
        names: Sequence[str] = (),
        *,
        away: Away = nullcontext,
        job: str = "",
    ) -> Finished:
        """Run a plan on stored inputs and store its outputs; each local part has `wall_seconds`.

        Args:
            plan: The steps.
            digests: The inputs' bytes.
            emit: Takes progress.
            wall_seconds: Clock limit of each local part.
            names: Names of the inputs' files.
            away: Entered while this waits for the engine.
            job: Whose work it is: the same work of the same job does not ask for a picture that it got before.

        Raises:
            DarkroomError: What the plan met, or the engine (`darkroom.errors`).
        """
        needed = ancestors(plan, [step_ref(plan.steps[-1].id)], ()) if plan.steps else []
        asked = [step for step in needed if self._is_generative(step)]
        if not asked:
            return await self._local.run(Plan(tuple(needed)), digests, emit, wall_seconds, names, away=away)
        refs = [input_ref(number) for number in range(len(digests))]
        course = _Course(plan, dict(zip(refs, names, strict=False)), wall_seconds, away, job, dict(zip(refs, digests)))
        if digests:
            course.pictures = list((await self._local.run(Plan(), digests)).outcome.inputs)
        parts = shares(len(asked))
        finished: Finished | None = None
        for step, share in zip(asked, parts, strict=False):
            finished = await self._generate(course, step, emit, share)
            course.known[step_ref(step.id)] = finished.digests[0]
        if finished is None or asked[-1] is not plan.steps[-1]:
            finished = await self._finish(course, step_ref(plan.steps[-1].id), _scaled(emit, parts[-1]))
        return _told(finished, course)

    async def render(self, plan: Plan, digests: Sequence[str]) -> tuple[bytes, Picture]:
        """The bytes of a plan's first output; nothing is stored.

        Raises:
            DarkroomError: As `run`; a plan with a generative step is refused.
        """
        return await self._local.render(plan, digests)

    def _is_generative(self, step: Step) -> bool:
        tool = self._tools.get(step.tool)
        return tool is not None and tool.generative

    def _configured(self) -> ImagesClient:
        if self._engine is None:
            raise EngineNotConfigured(
                "This needs an image engine, and none is configured. The server's operator sets DARKROOM_IMAGES_URL "
                "(such as https://api.openai.com/v1, or the address of LocalAI, vLLM-Omni or stable-diffusion.cpp), "
                "DARKROOM_IMAGES_MODEL (such as gpt-image-1) and, if the engine asks for one, DARKROOM_IMAGES_KEY, and "
                "starts the server again.",
                variables=["DARKROOM_IMAGES_URL", "DARKROOM_IMAGES_MODEL", "DARKROOM_IMAGES_KEY"],
            )
        return self._engine

    async def _finish(self, course: _Course, wanted: str, emit: Emit) -> Finished:
        """The local part behind the last question."""
        plan, inputs = part(course.plan, wanted, course.known)
        names = [course.names.get(ref, "") for ref in inputs] if course.names else []
        return await self._local.run(plan, [course.known[ref] for ref in inputs], emit, course.wall, names)

    async def _generate(self, course: _Course, step: Step, emit: Emit, share: tuple[float, float]) -> Finished:
        """One generative step: its pictures prepared, the engine asked, the answer looked at and stored."""
        engine = self._configured()
        wanted = generation_of(self._tools[step.tool], step)
        async with self._place(course.away):
            pictures, mask = await self._prepare(course, wanted)
            sent = [picture.data for picture in [*pictures, *([mask] if mask else [])]]
            key = Memory.key(course.job, step.id, [engine.identity, wanted.to_wire()], sent)
            if (known := await self._remembered(course, key)) is not None:
                return known
            async with self._telling(emit, share), course.away():
                answer = await engine.ask(wanted, pictures, mask)
        finished = await self._take(answer)
        course.facts |= {"method": engine.model}
        course.facts["usage"] = _added(course.facts.get("usage", {}), answer.usage)
        if step is course.plan.steps[-1]:  # steps behind it may well crop
            course.warnings += _size_warnings(wanted, answer, pictures, engine.model)
        if self._memory is not None and course.job:
            await asyncio.to_thread(self._memory.keep, key, finished.digests[0])
        return finished

    @asynccontextmanager
    async def _place(self, away: Away) -> AsyncIterator[None]:
        """One of the requests that the engine gets at once; whoever waits for it holds no slot."""
        held = False
        try:
            if self._room.locked():
                async with away():
                    held = await self._room.acquire()
            else:
                held = await self._room.acquire()
            yield
        finally:
            if held:
                self._room.release()

    async def _prepare(self, course: _Course, wanted: Generation) -> tuple[list[Sent], Sent | None]:
        """The pictures and the mask as they leave; one that is used twice is made once."""
        made: dict[str, Sent] = {}
        for number, facts in enumerate(course.pictures):
            if Attachment(input_ref(number)) in (*wanted.images, wanted.mask):
                course.warnings += _checked(facts)
        for picture in wanted.images:
            if picture.ref not in made:
                made[picture.ref] = await self._attach(course, picture, attach_picture.id, {})
        pictures = [made[picture.ref] for picture in wanted.images]
        if wanted.mask is None:
            return pictures, None
        size = {"width": pictures[0].width, "height": pictures[0].height}
        return pictures, await self._attach(course, wanted.mask, attach_mask.id, size)

    async def _attach(self, course: _Course, picture: Attachment, tool: str, settings: Mapping[str, Any]) -> Sent:
        plan, inputs = part(
            course.plan, picture.ref, course.known, lambda ref: Step(ATTACHED, tool, settings, {"image": (ref,)})
        )
        data, facts = await self._local.render(plan, [course.known[ref] for ref in inputs])
        return Sent(data, facts.media_type, facts.width or 1, facts.height or 1)

    async def _remembered(self, course: _Course, key: str) -> Finished | None:
        if self._memory is None or not course.job:
            return None
        digest = await asyncio.to_thread(self._memory.find, key)
        if digest is None or not self._stored(digest):
            return None
        course.facts |= {"method": self._configured().model}
        return _bare(await self._local.run(TAKE, [digest]))

    async def _take(self, answer: Answer) -> Finished:
        """Store the engine's picture, once a worker has found it whole."""
        async with self._written(answer.data) as path:
            try:
                return _bare(await self._local.admit(TAKE, path))
            except (ProcessingCrashed, ProcessingTimeout) as error:
                raise _unusable(error) from error
            except DarkroomError as error:
                if error.status >= 500:
                    raise
                raise _unusable(error) from error

    @asynccontextmanager
    async def _written(self, data: bytes) -> AsyncIterator[Path]:
        """A file that holds these bytes for a moment."""
        temporary = self._temporary()
        path = await asyncio.to_thread(temporary.__enter__)
        try:
            await asyncio.to_thread(path.write_bytes, data)
            yield path
        finally:
            await asyncio.shield(asyncio.to_thread(temporary.__exit__, None, None, None))

    @asynccontextmanager
    async def _telling(self, emit: Emit, share: tuple[float, float]) -> AsyncIterator[None]:
        """Tell now and again that the engine is at work; its share of the progress is never reached by waiting."""
        started = self._clock()

        async def tell() -> None:
            while True:
                waited = self._clock() - started
                done = 1 - math.exp(-waited / USUAL_SECONDS)
                emit(Progress(share[0] + (share[1] - share[0]) * done, ASKING))
                await asyncio.sleep(self._tick_seconds)

        telling = asyncio.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()


def _scaled(emit: Emit, share: tuple[float, float]) -> Emit:
    low, high = share
    return lambda progress: emit(Progress(low + (high - low) * progress.fraction, progress.message))


def _checked(facts: Picture) -> list[str]:
    """What is lost of an input that goes to an engine as it is.

    Raises:
        UnsupportedFormat: It is no picture yet.
    """
    if facts.format in DOCUMENTS:
        maker = "svg_to_raster" if facts.format == "svg" else "pdf_to_image"
        raise UnsupportedFormat(
            f"Engines take pictures, but the file is {facts.format.upper()}. Make a picture of it with {maker} first.",
            got=facts.format,
        )
    return [f"Of the animation only the first of {facts.frames} frames was used."] if facts.frames > 1 else []


def _bare(finished: Finished) -> Finished:
    """Without what its file held beside the picture: that was the engine's, not the caller's."""
    return Finished(Outcome([], finished.outcome.outputs), finished.digests)


def _told(finished: Finished, course: _Course) -> Finished:
    """The result with the facts of the whole plan instead of those of its last part."""
    last = finished.outcome
    facts = {**course.facts, **last.facts, "method": _methods(course.facts, last.facts)}
    warnings = [*course.warnings, *(text for text in last.warnings if text not in course.warnings)]
    outcome = Outcome(
        course.pictures,
        last.outputs,
        last.report,
        {name: value for name, value in facts.items() if value not in ({}, "")},
        last.kept,
        last.removed,
        warnings,
    )
    return Finished(outcome, finished.digests)


def _methods(engine: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    """The model, and behind it how the last part was done where that has a name."""
    return ", ".join(dict.fromkeys(str(facts["method"]) for facts in (engine, last) if facts.get("method")))


def _added(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in dict.fromkeys([*counts, *more])}


def _size_warnings(wanted: Generation, answer: Answer, pictures: Sequence[Sent], model: str) -> list[str]:
    first = (pictures[0].width, pictures[0].height) if pictures else None
    ratio = wanted.ratio(first)
    if ratio is None or answer.asked is None or differs(answer.asked[0] / answer.asked[1], ratio) < FAR_OFF:
        return []
    shape = "in the ratio of the first" if wanted.aspect_ratio == "auto" else f"in the ratio {wanted.aspect_ratio}"
    width, height = answer.asked
    return [f"{model} makes no picture {shape}; {width} x {height} pixels is the nearest. Crop it for the exact ratio."]


def _unusable(error: DarkroomError) -> EngineAnswerInvalid:
    return EngineAnswerInvalid(
        "The picture that the image engine sent cannot be used: it is damaged, too large, or of an unknown type. "
        "Try again.",
        reason=error.code,
    )


Executor = LocalExecutor | SegmentedExecutor
"""What jobs run on."""
