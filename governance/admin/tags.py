"""Template tags of the console. Everything they print is escaped; hostile text is made visible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from governance.admin import words
from governance.admin.charts import thin_bar
from governance.admin.frozen import frozen_words
from governance.admin.verbs import VerbForm
from governance.models import Freeze
from governance.safety.visible import fold, hides_something, shorten_id, size_in_words, visible
from kernel.clock import wire_time

register = template.Library()
DASH = words.NOTHING


@register.filter(name="visible")
def visible_filter(value: object) -> str:
    """Untrusted text with its hidden characters shown; autoescaping follows."""
    return DASH if value is None or value == "" else visible(str(value))


@register.filter
def hides(value: object) -> bool:
    return value is not None and hides_something(str(value))


@register.filter
def pretty(value: object) -> str:
    """A JSON value, indented, with hidden characters shown."""
    return visible(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


@register.filter
def head(value: object) -> str:
    """The visible beginning of a long text, followed by how much there is."""
    folded = fold(str(value))
    return f"{folded.head}… ({size_in_words(folded.size)})" if folded.is_cut else folded.head


@register.filter
def short(value: object) -> str:
    return DASH if not value else shorten_id(str(value))


@register.filter
def kib(value: int | None) -> str:
    return DASH if value is None else size_in_words(value)


@register.filter
def ms(value: float | str | None) -> str:
    """A measured time; what is not there yet reaches a filter as an empty text."""
    return DASH if isinstance(value, str) else words.milliseconds(value)


@register.filter
def as_span(value: timedelta | None) -> str:
    return DASH if value is None else words.span(value)


@register.simple_tag
def icon(name: str) -> SafeString:
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>', static("palyra/icons.svg"), name
    )


@register.simple_tag
def chip(state: str | None, word: str = "") -> SafeString:
    """A status chip: icon, word and colour."""
    if not state:
        return format_html("{}", DASH)
    look = words.look(state)
    return format_html('<span class="chip {}">{}{}</span>', look.tone, icon(look.icon), word or look.word)


@register.simple_tag
def word(state: str) -> str:
    return words.look(state).word


@register.filter
def state_word(state: str) -> str:
    """The word of a state inside a sentence or another element."""
    return words.look(state).word


@register.simple_tag
def name(names: Mapping[str, str], one: str | None) -> str:
    """The name behind an id, or the shortened id; hidden characters shown, autoescaping follows."""
    return visible(names.get(one or "") or shorten_id(one or DASH))


@register.simple_tag
def frozen_name(freeze: Freeze, names: dict[str, str]) -> str:
    """What a freeze stops, in words."""
    return visible(frozen_words(freeze, names))


@register.simple_tag
def tick(holds: bool) -> SafeString:
    """Yes or no in a cell, never by the sign alone."""
    sign, said = (icon("check"), "yes") if holds else (DASH, "no")
    return format_html('<span class="tick-{0}">{1}<span class="sr">{0}</span></span>', said, sign)


@register.simple_tag
def gate_icon(verdict: str) -> SafeString:
    return icon(words.look(verdict).icon)


@register.simple_tag
def tone_icon(look: words.Look) -> SafeString:
    return format_html('<span class="glyph {}">{}</span>', look.tone, icon(look.icon))


@register.simple_tag
def risk(level: str | None) -> SafeString:
    """A risk chip: one to four filled bars and the word."""
    if not level:
        return format_html("{}", DASH)
    filled = words.risk_bars(level)
    bars = format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="3" height="{}" rx="1"/>',
        (("on" if n < filled else "", n * 4.33, 9 - n * 3, 3 + n * 3) for n in range(4)),
    )
    return format_html(
        '<span class="chip {}" aria-label="{} risk"><svg class="bars" viewBox="0 0 16 12" aria-hidden="true">'
        "{}</svg>{}</span>",
        words.risk_tone(level), level, bars, level.capitalize(),
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def when(context: template.Context, moment: datetime | None) -> SafeString:
    """A moment, relative to the page's clock, with the exact time in the element."""
    if moment is None:
        return format_html("{}", DASH)
    exact = wire_time(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', exact, exact, words.relative(moment, context["now"])
    )


@register.simple_tag
def exact(moment: datetime | None) -> SafeString:
    """A moment in full."""
    text = wire_time(moment)
    return format_html('<time datetime="{}">{}</time>', text, text) if text else format_html("{}", DASH)


@register.simple_tag
def ident(value: str | None) -> SafeString:
    """An id or digest, shortened in the middle, whole in its title, with a copy button."""
    if not value:
        return format_html("{}", DASH)
    return format_html(
        '<span class="id"><span title="{0}">{1}</span><button class="copy" type="button" hidden '
        'data-copy="{0}" aria-label="Copy {0}">{2}</button></span>',
        value, shorten_id(value), icon("copy"),
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def time_left(context: template.Context, start: datetime, end: datetime) -> SafeString:
    """How much of a deadline is left, in words and as a bar: warns at one half, alarms at a fifth."""
    now: datetime = context["now"]
    whole = (end - start).total_seconds()
    part = max(0.0, (end - now).total_seconds()) / whole if whole > 0 else 0.0
    tone = words.urgency(part)
    text = f"{words.span(end - now)} left" if end > now else "expired"
    return format_html(
        '<span class="left"><span>{}</span>{}</span>', text, thin_bar(part, tone=tone, label=text)
    )


@register.simple_tag(takes_context=True)
def countdown(context: template.Context, start: datetime, end: datetime) -> SafeString:
    """`time_left` to the second, by the server's clock; a page with script counts on from it."""
    now: datetime = context["now"]
    whole = max(1.0, (end - start).total_seconds())
    left = max(0.0, (end - now).total_seconds())
    text = f"{words.countdown(end - now)} left" if end > now else "expired"
    bar = thin_bar(left / whole, tone=words.urgency(left / whole), label="Time left to answer")
    return format_html(
        '<span class="left" data-left="{}" data-whole="{}"><time datetime="{}" title="until {}">{}</time>{}'
        "</span>",
        f"{left:.1f}", f"{whole:.1f}", wire_time(end), wire_time(end), text, bar,
    )  # fmt: skip


@register.simple_block_tag(takes_context=True)
def verb(
    context: template.Context, content: SafeString, form: VerbForm, url: str, title: str, tone: str = ""
) -> SafeString:
    """The form of a verb, folded under its name; or its name as a disabled button, and why."""
    parts = {"content": content, "form": form, "url": url, "title": title, "tone": tone}
    return render_to_string("console/verb.html", parts, request=context["request"])


@register.inclusion_tag("console/field.html")
def field(form: VerbForm, name: str, label: str, kind: str = "text", **extra: Any) -> dict[str, Any]:
    """One labelled field of a verb, with what was typed and what was wrong with it.

    `extra`: `value` before anything was typed, `hint`, `options` of a select as (value, word) pairs,
    `required`, `longest`, `error_name` where the operation calls the field otherwise.
    """
    typed = form.values.get(name, extra.get("value", ""))
    return extra | {
        "name": name,
        "label": label,
        "kind": kind,
        "value": typed,
        "error": form.errors.get(extra.get("error_name", name), ""),
        "field_id": f"{form.name}-{name}",
    }
