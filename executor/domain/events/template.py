"""Facts about templates, from which workflows are made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.definition import ParameterName
from executor.domain.events.base import Event

Text = Annotated[str, Meta(max_length=1000)]
Short = Annotated[str, Meta(max_length=255)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class TemplateParameterType(StrEnum):
    """Those of a workflow's parameters; an `expression` is CEL, and written into CEL as it is."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    ARRAY = "array"
    ANY = "any"
    EXPRESSION = "expression"


class Complexity(StrEnum):
    BEGINNER = "beginner"
    INTERMEDIATE = "intermediate"
    ADVANCED = "advanced"
    EXPERT = "expert"


class ValidationRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a value must be beyond its type. Rules of another type say nothing."""

    min: float | None = None
    max: float | None = None
    min_length: Count | None = None
    max_length: Count | None = None
    pattern: Text | None = None
    min_items: Count | None = None
    max_items: Count | None = None


class TemplateParameter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value that whoever makes a workflow gives. `options`, where there are some, are all that it (or, of an array,
    an item of it) may be. `input_type`, `placeholder` and `help_text` are hints for whoever shows a form."""

    name: ParameterName
    display_name: Short | None = None
    description: Text | None = None
    parameter_type: TemplateParameterType = TemplateParameterType.STRING
    required: bool = False
    default_value: Any | UnsetType = UNSET
    validation_rules: ValidationRules = ValidationRules()
    input_type: Annotated[str, Meta(max_length=64)] | None = None
    options: Annotated[tuple[str | int | float | bool, ...], Meta(max_length=1000)] = ()
    placeholder: Short | None = None
    help_text: Text | None = None


class Template(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`workflow_definition` is in any written form; `{{name}}` in it stands for a parameter's value."""

    name: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
    workflow_definition: dict[str, Any]
    description: Text | None = None
    category: Short | None = None
    tags: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=100)] = ()
    parameters: Annotated[tuple[TemplateParameter, ...], Meta(max_length=200)] = ()
    author: Short | None = None
    version: Annotated[str, Meta(min_length=1, max_length=64)] = "1.0.0"
    complexity_level: Complexity = Complexity.BEGINNER
    estimated_setup_time_minutes: Count | None = None


class TemplateCreated(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "template.created"
    name: str
    template: Template


class TemplateRated(Event, frozen=True, kw_only=True):
    """By its actor, whose earlier rating it replaces. `template_id` is another than the stream's for a shipped
    template: of that, each organization has ratings of its own."""

    type: ClassVar[str] = "template.rated"
    template_id: str
    name: str
    rating: int


class TemplateDeleted(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "template.deleted"
    name: str
