"""What is saved: typed inputs, and components that make a directed acyclic graph."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from darkroom_tools.settings import Settings

__all__ = [
    "MOST_COMPONENTS",
    "Component",
    "InputType",
    "Option",
    "PipelineStep",
    "Price",
    "WorkflowDocument",
    "WorkflowInput",
]

MOST_COMPONENTS = 20

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
InputType = Literal["image", "text", "switch", "number", "boolean", "color", "choice"]


class PipelineStep(Settings):
    """One tool with its settings, in a pipeline that is not saved."""

    tool: str
    """Name of an image tool, such as resize."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Its settings"""


class Option(Settings):
    """One of the values that an input may have."""

    option_id: Annotated[str, Field(min_length=1, max_length=80)]
    """What a caller sends."""

    label: Annotated[str, Field(max_length=120)] = ""
    """What a person reads; the id if empty."""

    value: Any = None
    """What a reference stands for; the id if null."""


class WorkflowInput(Settings):
    """What a caller may hand in. What is left out comes from the setting that the input feeds."""

    type: InputType | None = None
    """Kind of value; an input that feeds an image parameter is an image."""

    title: Annotated[str, Field(max_length=80)] = ""
    """Name for people."""

    description: Annotated[str, Field(max_length=120)] = ""
    """What it is for."""

    role: Annotated[str, Field(max_length=40)] = ""
    """Of an image: what it shows, such as person or clothes."""

    required: bool | None = None
    """Whether a call must give it; by default if it has no default."""

    many: bool = False
    """Of an image: whether it is a list."""

    default: Any = None
    """Used when the caller gives none."""

    minimum: float | None = None
    """Least number."""

    maximum: float | None = None
    """Greatest number."""

    max_length: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Most characters of a text."""

    options: Annotated[list[Option], Field(max_length=100)] = Field(default_factory=list)
    """The values there are, for presets of a text, a switch or a choice."""

    multiple: bool = False
    """Of a switch: whether several options may be on."""


class Component(Settings):
    """A node of the graph: the tool of that name, or `input` or `export`."""

    aliases: ClassVar = {"tool": "type"}

    id: Identifier | None = None
    """What references call it; by default its type, with a number where that is taken."""

    type: Annotated[str, Field(min_length=1, max_length=60)]
    """A tool's name, `input` or `export`."""

    label: Annotated[str, Field(max_length=80)] = ""
    """Name for people."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """All arguments of the tool, images too; values may be references."""

    written: bool = False
    """Whether its result is written and read again before it goes on, as between two calls; else pixels go on."""


class Price(Settings):
    """Credits of one run."""

    min: Annotated[int, Field(ge=0)] | None = None
    """Least that a run may cost."""

    max: Annotated[int, Field(ge=0)] | None = None
    """Most that a run may cost."""

    execution: Annotated[int, Field(ge=0)] | None = None
    """What each run costs; the sum of the components' prices if null."""


class WorkflowDocument(Settings):
    """A workflow as it is saved, one version of it."""

    aliases: ClassVar = {"steps": "components"}

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """Name for people, in any script."""

    description: Annotated[str, Field(max_length=500)] = ""
    """What it is for."""

    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=40)]], Field(max_length=20)] = Field(
        default_factory=list
    )
    """Words to find it by."""

    project: Annotated[str, Field(max_length=80)] = ""
    """Project that it belongs to."""

    organisation: Annotated[str, Field(max_length=80)] = ""
    """Organisation that it belongs to."""

    author: Annotated[str, Field(max_length=80)] = ""
    """Who made it."""

    price: Price | None = None
    """What a run costs, where credits are counted."""

    published: bool = True
    """Whether it is a tool in the list; every workflow runs through run_workflow."""

    inputs: dict[Name, WorkflowInput] = Field(default_factory=dict)
    """By id: what a caller may hand in."""

    components: Annotated[list[Component], Field(min_length=1, max_length=MOST_COMPONENTS)]
    """In an order in which every reference points backwards; the result is that of the last one."""
