"""The product's MCP server with what the conformance suite asks for laid over it.

The suite can only test a server that has its `test_*` tools, prompts and `test://` resources. They are answered
here; everything else, and all transport, caching, listening and errors, is the product. Run it as
`python -m conformance.fixture` with `tests/` on the path; it prints the port it listens on.
"""

import asyncio
import base64
import json
import re
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import mcp_types as t
import uvicorn
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import PromptsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from support.mcp_room import FAST, Bench, Work, open_bench, png

from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.room import Context
from darkroom.faces.mcp.server import McpServer, build_server
from darkroom.faces.mcp.task_methods import require_tasks
from darkroom.jobs.record import ItemResult
from darkroom_tools.errors import DarkroomError, NoFace

PNG = base64.b64encode(png(1, 1)).decode()
WAV = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
).decode()
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}

Answer = t.CallToolResult | t.InputRequiredResult
Handler = Callable[[Context, t.CallToolRequestParams], Awaitable[Answer]]
TOOLS: dict[str, tuple[dict[str, Any], Handler]] = {}


def tool(schema: dict[str, Any] = EMPTY) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        TOOLS[handler.__name__] = (schema, handler)
        return handler

    return register


def said(text: str, *more: t.ContentBlock) -> t.CallToolResult:
    return t.CallToolResult(content=[t.TextContent(text=text), *more])


def embedded(uri: str, text: str, mime: str = "text/plain") -> t.EmbeddedResource:
    return t.EmbeddedResource(resource=t.TextResourceContents(uri=uri, mime_type=mime, text=text))


def strings(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": list(names)}


def asking(message: str, field: str, kind: str = "string") -> t.ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return t.ElicitRequest(params=t.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(question: str, tokens: int) -> t.CreateMessageRequest:
    message = t.SamplingMessage(role="user", content=t.TextContent(text=question))
    return t.CreateMessageRequest(params=t.CreateMessageRequestParams(messages=[message], max_tokens=tokens))


def beside(ctx: Context) -> ServerMessageMetadata:
    """Ask back on the stream of the call itself: the client may not listen on another one yet."""
    return ServerMessageMetadata(related_request_id=ctx.request_id)


def answered(params: Any, *keys: str) -> bool:
    return set(keys) <= set(params.input_responses or {})


@tool()
async def test_simple_text(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    return said("This is a simple text response for testing.")


@tool()
async def test_image_content(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    return t.CallToolResult(content=[t.ImageContent(data=PNG, mime_type="image/png")])


@tool()
async def test_audio_content(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    return t.CallToolResult(content=[t.AudioContent(data=WAV, mime_type="audio/wav")])


@tool()
async def test_embedded_resource(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    return t.CallToolResult(content=[embedded("test://embedded-resource", "This is an embedded resource content.")])


@tool()
async def test_multiple_content_types(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    resource = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return said("Multiple content types test:", t.ImageContent(data=PNG, mime_type="image/png"), resource)


async def log(ctx: Context, text: str) -> None:
    params = {"level": "info", "data": text}
    notification = t.LoggingMessageNotification(params=t.LoggingMessageNotificationParams(**params))
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)


@tool()
async def test_tool_with_logging(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, text)
        await anyio.sleep(0.05)
    return said("Logged.")


@tool()
async def test_logging_tool(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    return said("Nobody asked for logs.")


@tool()
async def test_error_handling(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    text = t.TextContent(text="This tool intentionally returns an error for testing")
    return t.CallToolResult(content=[text], is_error=True)


@tool()
async def test_tool_with_progress(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await anyio.sleep(0.05)
    return said("Done.")


@tool(strings("prompt"))
async def test_sampling(ctx: Context, params: t.CallToolRequestParams) -> Answer:
    request = sampling((params.arguments or {})["prompt"], 100)
    reply = await ctx.session.send_request(request, t.CreateMessageResult, metadata=beside(ctx))
    return said(f"LLM response: {reply.content}")


async def elicited(ctx: Context, message: str, schema: dict[str, Any]) -> t.CallToolResult:
    request = t.ElicitRequest(params=t.ElicitRequestFormParams(message=message, requested_schema=schema))
    reply = await ctx.session.send_request(request, t.ElicitResult, metadata=beside(ctx))
    return said(f"Elicitation completed: action={reply.action}, content={json.dumps(reply.content)}")


@tool(strings("message"))
async def test_elicitation(ctx: Context, params: t.CallToolRequestParams) -> Answer:
    schema = strings("username", "email")
    return await elicited(ctx, (params.arguments or {})["message"], schema)


@tool()
async def test_elicitation_sep1034_defaults(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await elicited(ctx, "Please confirm", {"type": "object", "properties": properties})


@tool()
async def test_elicitation_sep1330_enums(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    plain = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)
    ]
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", **legacy},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await elicited(ctx, "Please choose", {"type": "object", "properties": properties})


@tool()
async def test_missing_capability(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(t.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs the sampling capability.", data)
    return said("The client can sample.")


@tool()
async def test_streaming_elicitation(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    return t.InputRequiredResult(input_requests={"confirm": asking("Go on?", "ok", "boolean")})


@tool()
async def test_input_required_result_elicitation(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    reply = (params.input_responses or {}).get("user_name")
    if not isinstance(reply, t.ElicitResult) or "name" not in (reply.content or {}):
        return t.InputRequiredResult(input_requests={"user_name": asking("What is your name?", "name")})
    return said(f"Hello, {(reply.content or {})['name']}!")


@tool()
async def test_input_required_result_sampling(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    if not answered(params, "capital_question"):
        requests = {"capital_question": sampling("What is the capital of France?", 100)}
        return t.InputRequiredResult(input_requests=requests)
    return said(str((params.input_responses or {})["capital_question"]))


@tool()
async def test_input_required_result_list_roots(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    if not answered(params, "client_roots"):
        return t.InputRequiredResult(input_requests={"client_roots": t.ListRootsRequest()})
    return said(str((params.input_responses or {})["client_roots"]))


@tool()
async def test_input_required_result_request_state(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    if params.request_state is None:
        requests = {"confirm": asking("Please confirm", "ok", "boolean")}
        return t.InputRequiredResult(input_requests=requests, request_state="waiting")
    return said("state-ok")


@tool()
async def test_input_required_result_tampered_state(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    if params.request_state is None:
        requests = {"confirm": asking("Please confirm", "ok", "boolean")}
        return t.InputRequiredResult(input_requests=requests, request_state="untouched")
    return said("The state was untouched.")


@tool()
async def test_input_required_result_multiple_inputs(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    if not answered(params, "user_name", "greeting", "client_roots"):
        requests = {
            "user_name": asking("What is your name?", "name"),
            "greeting": sampling("Generate a greeting", 50),
            "client_roots": t.ListRootsRequest(),
        }
        return t.InputRequiredResult(input_requests=requests, request_state="all-three")
    return said("All three arrived.")


@tool()
async def test_input_required_result_multi_round(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
    if params.request_state is None:
        step = {"step1": asking("Step 1: What is your name?", "name")}
        return t.InputRequiredResult(input_requests=step, request_state="round-1")
    if params.request_state == "round-1":
        step = {"step2": asking("Step 2: What is your favorite color?", "color")}
        return t.InputRequiredResult(input_requests=step, request_state="round-2")
    return said("Both rounds are done.")


@tool()
async def test_input_required_result_capabilities(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
    """Only ask for what the client said it can do."""
    capabilities = ctx.session.client_capabilities or t.ClientCapabilities()
    requests: dict[str, Any] = {}
    if capabilities.elicitation is not None:
        requests["user_name"] = asking("What is your name?", "name")
    if capabilities.sampling is not None:
        requests["greeting"] = sampling("Generate a greeting", 50)
    return t.InputRequiredResult(input_requests=requests) if requests else said("Nothing to ask.")


PROMPTS = [
    t.Prompt(name="test_simple_prompt", description="A prompt without arguments."),
    t.Prompt(
        name="test_prompt_with_arguments",
        description="A prompt with two arguments.",
        arguments=[t.PromptArgument(name="arg1", required=True), t.PromptArgument(name="arg2", required=True)],
    ),
    t.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A prompt with a resource in it.",
        arguments=[t.PromptArgument(name="resourceUri", required=True)],
    ),
    t.Prompt(name="test_prompt_with_image", description="A prompt with a picture."),
    t.Prompt(name="test_input_required_result_prompt", description="A prompt that asks back."),
]


def test_prompt(params: t.GetPromptRequestParams) -> t.GetPromptResult | t.InputRequiredResult:
    values = params.arguments or {}
    blocks: list[t.ContentBlock]
    match params.name:
        case "test_simple_prompt":
            blocks = [t.TextContent(text="This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            text = f"Prompt with arguments: arg1='{values['arg1']}', arg2='{values['arg2']}'"
            blocks = [t.TextContent(text=text)]
        case "test_prompt_with_embedded_resource":
            resource = embedded(values["resourceUri"], "Embedded resource content for testing.")
            blocks = [resource, t.TextContent(text="Please process the embedded resource above.")]
        case "test_prompt_with_image":
            picture = t.ImageContent(data=PNG, mime_type="image/png")
            blocks = [picture, t.TextContent(text="Please analyze the image above.")]
        case _ if answered(params, "user_context"):
            blocks = [t.TextContent(text="The context arrived.")]
        case _:
            ask = asking("What context should the prompt use?", "context")
            return t.InputRequiredResult(input_requests={"user_context": ask})
    return t.GetPromptResult(messages=[t.PromptMessage(role="user", content=block) for block in blocks])


def test_resource(uri: str) -> t.ReadResourceResult | None:
    if uri == "test://static-binary":
        return t.ReadResourceResult(contents=[t.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)])
    template = re.fullmatch(r"test://template/([^/]+)/data", uri)
    if template:
        data = {"id": template[1], "templateTest": True, "data": f"Data for ID: {template[1]}"}
        text = t.TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
    elif uri == "test://static-text":
        words = "This is the content of the static text resource."
        text = t.TextResourceContents(uri=uri, mime_type="text/plain", text=words)
    else:
        return None
    return t.ReadResourceResult(contents=[text])


def timed_work(bench: Bench) -> Work:
    """Jobs that take as long, and end, as their image says."""

    async def work(said: str, emit: Any) -> ItemResult:
        kind, _, value = said.partition(" ")
        await anyio.sleep(float(value) if kind == "slow" else 0.5)
        if kind == "fail":
            raise NoFace("No face was found.")
        if kind == "break":
            raise DarkroomError("Something went wrong inside the server.")
        return replace(await bench.jobs.resize_nothing(said, emit), warnings=[said])

    return work


def tools_with_tasks(bench: Bench) -> None:
    """Tools that take some time; that their calls are tasks, and how these go on, is the product's."""
    bench.jobs.work = timed_work(bench)

    async def run(ctx: Context, said: str) -> Any:
        tool = bench.room.catalog.builtin["resize"]
        call = Call(bench.room, ctx, bench.room.principal(ctx))
        return await call.run_job(tool, {"image": said, "width": 8})

    @tool(strings("name"))
    async def greet(_ctx: Context, params: t.CallToolRequestParams) -> Answer:
        return said(f"Hello, {(params.arguments or {})['name']}!")

    @tool({"type": "object", "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}}})
    async def slow_compute(ctx: Context, params: t.CallToolRequestParams) -> Answer:
        return await run(ctx, f"slow {(params.arguments or {})['seconds']}")

    @tool()
    async def failing_job(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
        require_tasks(ctx)
        return await run(ctx, "fail")

    @tool()
    async def protocol_error_job(ctx: Context, _params: t.CallToolRequestParams) -> Answer:
        return await run(ctx, "break")

    @tool(strings("filename"))
    async def confirm_delete(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
        return said("No task of this server asks back.")

    @tool()
    async def test_tool_with_task(ctx: Context, params: t.CallToolRequestParams) -> Answer:
        require_tasks(ctx)
        if not answered(params, "user_name"):
            return t.InputRequiredResult(input_requests={"user_name": asking("What is your name?", "name")})
        response = (params.input_responses or {})["user_name"]
        return await run(ctx, f"name {response.content['name']}")


def lay_over(server: McpServer) -> None:
    """Answer what the suite brings along; pass everything else on to the product."""
    product = {
        method: entry.handler
        for method in ("tools/list", "tools/call", "prompts/list", "prompts/get", "resources/list", "resources/read")
        if (entry := server.get_request_handler(method)) is not None
    }

    @tool()
    async def test_trigger_tool_change(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
        server.changes.tools_changed()
        return said("Announced.")

    @tool()
    async def test_trigger_prompt_change(_ctx: Context, _params: t.CallToolRequestParams) -> Answer:
        await server.changes.bus.publish(PromptsListChanged())
        return said("Announced.")

    async def list_tools(ctx: Context, params: t.PaginatedRequestParams) -> t.ListToolsResult:
        own = [t.Tool(name=name, description="For the suite.", input_schema=s) for name, (s, _) in TOOLS.items()]
        return t.ListToolsResult(tools=[*(await product["tools/list"](ctx, params)).tools, *own])

    async def call_tool(ctx: Context, params: t.CallToolRequestParams) -> Any:
        handler = TOOLS[params.name][1] if params.name in TOOLS else product["tools/call"]
        return await handler(ctx, params)

    async def list_prompts(ctx: Context, params: t.PaginatedRequestParams) -> t.ListPromptsResult:
        return t.ListPromptsResult(prompts=[*(await product["prompts/list"](ctx, params)).prompts, *PROMPTS])

    async def get_prompt(ctx: Context, params: t.GetPromptRequestParams) -> Any:
        own = params.name in {prompt.name for prompt in PROMPTS}
        return test_prompt(params) if own else await product["prompts/get"](ctx, params)

    async def list_resources(ctx: Context, params: t.PaginatedRequestParams) -> t.ListResourcesResult:
        own = [t.Resource(uri=f"test://static-{kind}", name=kind) for kind in ("text", "binary")]
        return t.ListResourcesResult(resources=[*(await product["resources/list"](ctx, params)).resources, *own])

    async def read_resource(ctx: Context, params: t.ReadResourceRequestParams) -> Any:
        return test_resource(params.uri) or await product["resources/read"](ctx, params)

    async def accept(_ctx: Context, _params: Any) -> t.EmptyResult:
        return t.EmptyResult()

    server.add_request_handler("tools/list", t.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", t.CallToolRequestParams, call_tool)
    server.add_request_handler("prompts/list", t.PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", t.GetPromptRequestParams, get_prompt)
    server.add_request_handler("resources/list", t.PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/read", t.ReadResourceRequestParams, read_resource)
    server.add_request_handler("resources/subscribe", t.SubscribeRequestParams, accept)
    server.add_request_handler("resources/unsubscribe", t.UnsubscribeRequestParams, accept)
    server.add_request_handler("logging/setLevel", t.SetLevelRequestParams, accept)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))


async def serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_bench(Path(folder), pace=replace(FAST, moment=0.1)) as bench:
            server = build_server(bench.room)
            tools_with_tasks(bench)
            lay_over(server)
            config = uvicorn.Config(server.streamable_http_app(), port=0, http="h11", log_level="warning")
            listener = config.bind_socket()
            listener.listen()  # the suite may connect as soon as it knows the port
            print(listener.getsockname()[1], flush=True)
            await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve())
