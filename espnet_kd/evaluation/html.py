"""One self-contained HTML page: tables, figures inlined as base64 PNG, no network, no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from espnet_kd.evaluation.results import NOTE, Table

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 2px solid #999; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.teacher { background: #f3f3f3; } tr.student { background: #eaf4fb; }
tr.baseline { background: #fdf2ea; }
img { max-width: 100%; } p.note { color: #555; }
code { font-size: 13px; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for paragraph in paragraphs %}<p>{{ paragraph }}</p>
{% endfor %}
{% for table in tables %}<h2>{{ table.title }}</h2>
<div class="scroll"><table>
<thead><tr>{% for cell in table.head %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in table.rows %}
<tr class="{{ row|select('in', roles)|first|default('') }}">
{%- for cell in row %}<td{% if cell[:1] in digits %} class="number"{% endif %}>
{%- if cell[:1] == '`' %}<code>{{ cell.strip('`') }}</code>{% else %}{{ cell }}{% endif -%}
</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>
{% if loop.first %}<p class="note">{{ note }}</p>
{% for caption, source in figures.items() %}<h2>{{ caption }}</h2>
<img alt="{{ caption }}" src="data:image/png;base64,{{ source }}">
{% endfor %}{% endif %}{% endfor %}
</body>
</html>
"""


def render_page(
    title: str,
    tables: Sequence[Table],
    figures: Mapping[str, Path],
    paragraphs: Sequence[str] = (),
    note: str = NOTE,
) -> str:
    """Return the page; every text is escaped.

    Args:
        title: heading of the page.
        tables: shown in this order; the figures follow the first one.
        figures: caption to PNG file.
        paragraphs: text under the heading.
        note: how to read the first table.
    """
    inlined = {
        caption: base64.b64encode(path.read_bytes()).decode("ascii")
        for caption, path in figures.items()
    }
    template = jinja2.Environment(autoescape=True).from_string(_PAGE)
    return template.render(
        title=title,
        tables=tables,
        figures=inlined,
        paragraphs=paragraphs,
        note=note,
        roles=("teacher", "student", "baseline"),
        digits=set("0123456789-"),
    )
