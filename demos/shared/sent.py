"""Widgets that hand on a value as it was sent, so that a mistake is told in a sentence beside its field."""

import functools
from abc import ABCMeta
from typing import TypeVar

import gradio as gr
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError, model_validator

Widget = TypeVar("Widget", bound=gr.components.Component)


def altered(widget: Widget, **own) -> Widget:
    """The widget with attributes of its class replaced, here and in every copy that gradio makes of it.

    What is set on a widget itself is lost with the first update: gradio then makes the widget anew, for this
    visitor, from its class and arguments.
    """
    widget.__class__ = kind(type(widget), **own)
    return widget


def kind(base: type, **own) -> type:
    """A class like `base` but for these attributes, under its name: the page finds the widget by that.

    Made past gradio's metaclass, which writes a stub beside the source file of every class it makes.
    """
    return ABCMeta.__new__(type(base), base.__name__, (base,), {"__module__": base.__module__} | own)


def as_sent(widget: Widget) -> Widget:
    """The widget, its value handed on unchecked: the knob's own check gives a sentence beside the widget.

    Gradio's checks come before any validator, and their messages name no field.
    """
    widget.__class__ = unchecked(type(widget))
    return widget


@functools.cache
def unchecked(base: type) -> type:
    """A class like `base` whose values are handed on as they come."""
    return kind(base, preprocess=lambda self, value: value)


@functools.cache
def lenient(model: type[BaseModel]) -> type[BaseModel]:
    """A data model of gradio's for an upload that reads a value which is not a file as no file at all.

    The field then asks for one, instead of an error that names no field.
    """

    class Upload(model):
        model_config = ConfigDict(title=model.__name__)

        @model_validator(mode="wrap")
        @classmethod
        def read(cls, value, handler):
            try:
                return handler(value)
            except ValidationError:
                return handler([]) if issubclass(model, RootModel) else cls()  # a list of files, or one

    return Upload


def files(*value, **look) -> gr.File:
    """A field for files; the handler gets their paths as a list, of none for what is no file."""
    field = gr.File(*value, **look)
    model = lenient(field.data_model)
    # Each copy of the field sets its own; that is not heard.
    field = altered(field, data_model=property(lambda self: model, lambda self, other: None))
    vars(field).pop("data_model", None)
    return field
