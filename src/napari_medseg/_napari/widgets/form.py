"""A form made from a Settings class: one widget per field, paper defaults, tooltips from the descriptions."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from magicgui.application import use_app
from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, FloatSpinBox, LineEdit, SpinBox
from pydantic.fields import FieldInfo

from napari_medseg._napari.widgets.named import make_narrow, name_path, still
from napari_medseg.settings import Settings, plain_type

NONE = "none"
STRETCH = 1.2


class SettingsForm(Container):
    """Edit one Settings object; `value` validates, so a wrong entry raises `SettingsError` in plain words."""

    def __init__(self, defaults: Settings, hidden: tuple[str, ...] = ()) -> None:
        self.defaults = defaults
        super().__init__(labels=True)
        for name, field in type(defaults).model_fields.items():
            if name not in hidden:
                self.append(widget := _widget(name, field, getattr(defaults, name)))
                _name(widget)
        self.hidden = hidden
        self.margins = (0, 0, 0, 0)

    def _unify_label_widths(self) -> None:
        """Give all labels one width; napari's font is wider than the one that magicgui measures with."""
        super()._unify_label_widths()
        measure, rows = use_app().get_obj("get_text_width"), [(w, w._labeled_widget()) for w in self._list]
        widest = max((measure(widget.label) for widget, row in rows if row is not None), default=0)
        for row in (row for _, row in rows if row is not None):
            row.label_width = round(STRETCH * widest)

    @property
    def value(self) -> Settings:
        """The settings as edited."""
        entered = {w.name: _entered(type(self.defaults).model_fields[w.name], w.value) for w in self._list}
        return type(self.defaults).parse({**self.defaults.model_dump(), **entered})

    @value.setter
    def value(self, settings: Settings) -> None:
        for widget in self._list:
            value = getattr(settings, widget.name)
            widget.value = _shown(type(settings).model_fields[widget.name], value)

    def reset(self) -> None:
        """Return to the defaults."""
        self.value = self.defaults


def _widget(name: str, field: FieldInfo, default: Any) -> Any:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    common = {
        "name": name,
        "label": field.title or name.replace("_", " "),
        "tooltip": field.description or "",
        "value": _shown(field, default),
    }
    kind, optional = plain_type(field.annotation)
    low, high = _limits(field)
    if kind is bool:
        return CheckBox(**common)
    if get_origin(kind) is Literal:
        return ComboBox(choices=list(get_args(kind)), **common)
    if optional or get_origin(kind) is tuple:
        return LineEdit(**common)
    if kind is int:
        return SpinBox(min=int(low), max=int(min(high, 2**31 - 1)), step=1, **common)
    if kind is float:
        return FloatSpinBox(min=low, max=high, step=float(extra.get("step", 0.01)), **common)
    if extra.get("widget") == "file":
        return FileEdit(mode="r", nullable=True, **common)
    return LineEdit(**common)


def _name(widget: Any) -> None:
    """Give what is edited its name; it has its tooltip already."""
    if isinstance(widget, FileEdit):
        name_path(widget, widget.label, widget.tooltip)
    else:
        widget.native.setAccessibleName(widget.label)
    if isinstance(widget, ComboBox):
        make_narrow(widget.native)
    if isinstance(widget, (ComboBox, SpinBox, FloatSpinBox)):
        still(widget.native)


def _limits(field: FieldInfo) -> tuple[float, float]:
    low, high = -1e9, 1e9
    for rule in field.metadata:
        low = float(getattr(rule, "ge", getattr(rule, "gt", low)))
        high = float(getattr(rule, "le", getattr(rule, "lt", high)))
    return low, high


def _shown(field: FieldInfo, value: Any) -> Any:
    kind, optional = plain_type(field.annotation)
    if get_origin(kind) is tuple:
        return ", ".join(map(str, value)) if value is not None else NONE
    return (NONE if value is None else str(value)) if optional else value


def _entered(field: FieldInfo, value: Any) -> Any:
    kind, optional = plain_type(field.annotation)
    if optional and str(value).strip().lower() in {NONE, ""}:
        return None
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in str(value).split(",") if part.strip())
    return str(value) if kind is str and value is not None else value
