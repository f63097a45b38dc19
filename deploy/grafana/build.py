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

from panels import PAGES, Page, Panel

FOLDER = Path(__file__).parent / "dashboards"
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
        .with_variable(
            dashboard.QueryVariable("model")
            .label("model")
            .datasource(_SOURCE)
            .query("label_values(offramp_requests_total, model)")
            .include_all(True)
            .all_value(".*")
            .multi(True)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .current(models.VariableOption(selected=True, text="All", value="$__all"))
        )
    )
    x = y = 0
    for panel in page.panels:
        width = _COLUMNS if panel.wide else _COLUMNS // 2
        if x + width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        made = made.with_panel(_graph(panel).grid_pos(models.GridPos(h=_HEIGHT, w=width, x=x, y=y)))
        x += width
    return json.dumps(_stripped(json.loads(JSONEncoder(sort_keys=True).encode(made.build()))), indent=2) + "\n"


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
        graph = graph.with_target(target)
    return graph


def _stripped(value: Any) -> Any:
    """Without nulls and `style`, which Grafana's own schema refuses."""
    if isinstance(value, dict):
        return {key: _stripped(inner) for key, inner in value.items() if inner is not None and key != "style"}
    return [_stripped(inner) for inner in value] if isinstance(value, list) else value


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for page in PAGES:
        (FOLDER / f"{page.uid}.json").write_text(rendered(page))


if __name__ == "__main__":
    main()
