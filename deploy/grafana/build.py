"""Write the dashboards of panels.py as Grafana's JSON: `make dashboards`. A test holds the files against this."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

sys.path.insert(0, str(Path(__file__).parent))

from panels import PAGES, Page, Panel, Variable

FOLDER = Path(__file__).parent / "dashboards"
_REFUSED = {"style", "auto", "auto_count", "auto_min"}
_COLUMNS, _HEIGHT = 24, 8
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")


def rendered(page: Page) -> str:
    """A dashboard as the text of its file."""
    made = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .tags(["offramp"])
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
    )
    for variable in page.variables:
        made = made.with_variable(_variable(variable))
    x = y = 0
    for panel in page.panels:
        width = _COLUMNS if panel.wide else _COLUMNS // 2
        if x + width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        made = made.with_panel(_graph(panel).grid_pos(models.GridPos(h=_HEIGHT, w=width, x=x, y=y)))
        x += width
    document = _stripped(json.loads(JSONEncoder(sort_keys=True).encode(made.build())))
    for variable in document["templating"]["list"]:
        del variable["id"]  # zeros, and no member of Grafana's type
    return json.dumps(document, indent=2) + "\n"


def _variable(variable: Variable) -> Any:
    label = variable.label or variable.name
    if variable.text:
        return dashboard.TextBoxVariable(variable.name).label(label).default_value(variable.text)
    made = (
        dashboard.QueryVariable(variable.name)
        .label(label)
        .datasource(_SOURCE)
        .query(variable.query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    if not variable.several:
        return made.multi(False).include_all(False)
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return made.include_all(True).all_value(".*").multi(True).current(everything)


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .fill_opacity(30 if panel.stacked else 8)
        .line_width(1)
    )
    if not panel.signed:
        graph = graph.min(0)
    if panel.stacked:
        graph = graph.stacking(common_builders.StackingConfig().group("A").mode(common.StackingMode.NORMAL))
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number))
        if query.exemplars:
            target = target.exemplar(True)
        graph = graph.with_target(target)
    return graph


def _stripped(value: Any) -> Any:
    """Without nulls and what Grafana's own types refuse though its SDK writes it."""
    if isinstance(value, dict):
        return {key: _stripped(inner) for key, inner in value.items() if inner is not None and key not in _REFUSED}
    return [_stripped(inner) for inner in value] if isinstance(value, list) else value


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for page in PAGES:
        (FOLDER / f"{page.uid}.json").write_text(rendered(page))


if __name__ == "__main__":
    main()
