"""What the dashboards show: titles, queries and units, apart from how Grafana wants them written.

`$model` is a variable of every dashboard, `$tenant` and `$cost` of one. Queries have to answer under any load, so
ratios never divide by nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

RATE = "$__rate_interval"
KEPT = ', met="true"'
ANSWERED = ', outcome=~"ok|degraded"'


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """One graph. `unit` is Grafana's name for it; `stacked` draws areas that add up; `signed` goes below 0."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    stacked: bool = False
    wide: bool = False
    signed: bool = False


@dataclass(frozen=True)
class Variable:
    """What the reader of a page chooses: one or several values that a query finds, or a text of their own."""

    name: str
    query: str = ""
    text: str = ""
    label: str = ""
    several: bool = True


MODELS = Variable("model", "label_values(offramp_requests_total, model)")


@dataclass(frozen=True)
class Page:
    """One dashboard."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = (MODELS,)


def rate(metric: str, by: str, more: str = "") -> str:
    """Sum of a counter's rate by labels, of the chosen models."""
    return f'sum by ({by}) (rate({metric}{{model=~"$model"{more}}}[{RATE}]))'


def by_tenant(metric: str) -> str:
    """Rate of a counter of the chosen tenants."""
    return f'sum by (tenant) (rate({metric}{{tenant=~"$tenant"}}[{RATE}]))'


def quantile(share: float, metric: str, by: str = "model") -> str:
    """A quantile of a histogram, of the chosen models."""
    return f'histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{model=~"$model"}}[{RATE}])))'


def quantiles(metric: str) -> tuple[Query, ...]:
    """Median, 95th and 99th percentile."""
    return tuple(Query(quantile(share, metric), f"{{{{model}}}} p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def mean(metric: str, by: str = "model") -> str:
    """Mean of a histogram's values by labels, of the chosen models."""
    return f"{rate(f'{metric}_sum', by)} / ({rate(f'{metric}_count', by)} > 0)"


ENDED = Panel(
    "Inputs by how they ended",
    "ok: every budget kept. degraded: answered, but a deadline, a limit or the load forced the exit.",
    (Query(rate("offramp_requests_total", "outcome"), "{{outcome}}"),),
    "reqps",
    stacked=True,
)
SHARE = Panel(
    "Share of the full network",
    "MACs spent over MACs that the full walk would have cost: 1 is no saving.",
    (
        Query(
            f"{rate('offramp_compute_macs_total', 'model')} / ({rate('offramp_compute_macs_total', 'model')} + "
            f"{rate('offramp_saved_macs_total', 'model')} > 0)",
            "{{model}}",
        ),
    ),
    "percentunit",
)
EXITS = Panel(
    "Exits and why",
    "Where answers were taken. deadline, compute and overload are forced: outside every certificate.",
    (Query(rate("offramp_exits_total", "exit, reason") + " > 0", "{{exit}}: {{reason}}"),),
    "reqps",
    stacked=True,
    wide=True,
)
BUDGETS_KEPT = Panel(
    "Budgets kept",
    "Share of the budgets of each kind that were kept.",
    (
        Query(
            f"{rate('offramp_budget_total', 'budget', KEPT)} / ({rate('offramp_budget_total', 'budget')} > 0)",
            "{{budget}}",
        ),
    ),
    "percentunit",
)

BUDGETS = Page(
    uid="offramp-budgets",
    title="offramp: budgets and compute",
    panels=(
        ENDED,
        Panel(
            "Compute per answer",
            "Multiply-adds of the answers given: mean and 95th percentile.",
            (
                Query(mean("offramp_request_compute_macs"), "{{model}} mean"),
                Query(quantile(0.95, "offramp_request_compute_macs"), "{{model}} p95"),
            ),
        ),
        SHARE,
        EXITS,
        Panel(
            "Market price",
            "Expected correctness that one more device second has to buy; 0 while every deadline can be met.",
            (Query("offramp_compute_price", "price"),),
        ),
        BUDGETS_KEPT,
        Panel(
            "Compute: spent, saved, wasted",
            "Multiply-adds a second: on receipts; what full walks would have cost more; what served no answer.",
            (
                Query(rate("offramp_compute_macs_total", "model"), "{{model}} spent"),
                Query(rate("offramp_saved_macs_total", "model"), "{{model}} saved"),
                Query(rate("offramp_wasted_macs_total", "reason"), "wasted: {{reason}}"),
            ),
            stacked=True,
        ),
        Panel(
            "Certificates",
            "1 while the default certificate holds; 0 while audited walks contradict it and a safer price is served.",
            (Query('offramp_certificate_valid{model=~"$model"}', "{{model}}"),),
        ),
        Panel(
            "Agreement seen by shadows",
            "Share of the last audited walks whose answer agrees with the full network's.",
            (Query('offramp_shadow_agreement_ratio{model=~"$model"} >= 0', "{{model}}"),),
            "percentunit",
        ),
    ),
)

LATENCY = Page(
    uid="offramp-latency",
    title="offramp: latency and queues",
    panels=(
        Panel(
            "Time to the answer",
            "From the request's last byte to its answer.",
            quantiles("offramp_request_duration_seconds"),
            "s",
            wide=True,
        ),
        Panel("Waiting", "Time that an answer waited at its stages.", quantiles("offramp_queue_seconds"), "s"),
        Panel(
            "Device time", "Of one answer, its share of each batch.", quantiles("offramp_request_device_seconds"), "s"
        ),
        Panel(
            "Slack at the answer",
            "Time left to the deadline, of requests that set one: the slowest twentieth, and the median.",
            tuple(
                Query(quantile(share, "offramp_deadline_slack_seconds"), f"{{{{model}}}} p{share * 100:g}")
                for share in (0.05, 0.5)
            ),
            "s",
            signed=True,
        ),
        Panel(
            "Stage time",
            "Mean time of a batch, by stage.",
            (Query(mean("offramp_stage_seconds", "model, stage"), "{{model}} {{stage}}"),),
            "s",
        ),
        Panel(
            "Rows of a batch",
            "Mean rows that ran together, by stage.",
            (Query(mean("offramp_stage_rows", "model, stage"), "{{model}} {{stage}}"),),
        ),
        Panel(
            "Why batches were let go",
            "full: as many rows as pay. slack: somebody couldn't wait. idle: nobody to wait for. deadline: cut short.",
            (Query(rate("offramp_batches_total", "release"), "{{release}}"),),
            "ops",
            stacked=True,
        ),
        Panel(
            "Refusals",
            "Inputs refused before a stage ran, by reason.",
            (Query(rate("offramp_refused_total", "reason"), "{{reason}}"),),
            "reqps",
            stacked=True,
        ),
    ),
)

MODEL = Page(
    uid="offramp-model",
    title="offramp: one model",
    variables=(replace(MODELS, several=False),),
    panels=(
        ENDED,
        Panel(
            "Time to the answer",
            "From the request's last byte to its answer. The dots are single requests, named by their X-Request-Id.",
            tuple(
                Query(quantile(share, "offramp_request_duration_seconds"), f"p{share * 100:g}", exemplars=True)
                for share in (0.5, 0.95, 0.99)
            ),
            "s",
        ),
        Panel(
            "Compute by stage",
            "Multiply-adds a second of the answers given, by the stage that ran.",
            (Query(rate("offramp_compute_macs_total", "stage"), "{{stage}}"),),
            stacked=True,
        ),
        SHARE,
        EXITS,
        BUDGETS_KEPT,
        Panel(
            "Stage time",
            "Mean time of a batch, by stage.",
            (Query(mean("offramp_stage_seconds", "stage"), "{{stage}}"),),
            "s",
        ),
        Panel(
            "Audits",
            "Walks audited to the end, and steps down that they forced, an hour.",
            (
                Query('sum by (model) (increase(offramp_shadow_audits_total{model=~"$model"}[1h]))', "audits"),
                Query('sum by (model) (increase(offramp_shadow_alarms_total{model=~"$model"}[1h]))', "steps"),
            ),
        ),
        Panel(
            "State",
            "1 for the state that the model is in; failed: its package can't be served, and the log says why.",
            (Query('max by (state) (offramp_model_state{model=~"$model"})', "{{state}}"),),
        ),
    ),
)

# Walks cost what their stages take of a device; $cost is what an hour of that device costs.
_SECONDS_PER_ANSWER = mean("offramp_request_device_seconds")

TENANTS = Page(
    uid="offramp-tenants",
    title="offramp: tenants and cost",
    variables=(
        MODELS,
        Variable("tenant", "label_values(offramp_tenant_macs_total, tenant)"),
        Variable("cost", text="0.50", label="cost of a device hour"),
    ),
    panels=(
        Panel(
            "Compute by tenant",
            "Multiply-adds a second that ran for each tenant, for an answer or for none.",
            (Query(by_tenant("offramp_tenant_macs_total"), "{{tenant}}"),),
            stacked=True,
        ),
        Panel(
            "Share of the quota",
            "Compute used over what the tenant may use; those without a quota aren't shown.",
            (
                Query(
                    f"{by_tenant('offramp_tenant_macs_total')} / "
                    'max by (tenant) (offramp_tenant_quota_macs{tenant=~"$tenant"})',
                    "{{tenant}}",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Requests turned away by tenant",
            "Quota used up, or a model that the key doesn't open.",
            (Query(by_tenant("offramp_tenant_refused_total"), "{{tenant}}"),),
            "reqps",
            stacked=True,
        ),
        Panel(
            "Device time of an answer",
            "Mean seconds of a device for one answer, its share of each batch.",
            (Query(_SECONDS_PER_ANSWER, "{{model}}"),),
            "s",
        ),
        Panel(
            "Cost of a thousand answers",
            "Their device time at $cost an hour; what the device idles is not in it.",
            (Query(f"1000 * $cost / 3600 * {_SECONDS_PER_ANSWER}", "{{model}}"),),
        ),
        Panel(
            "Cost of the device time used, an hour",
            "Stage batches, audits too, at $cost an hour of one lane.",
            (Query(f"$cost * {rate('offramp_stage_seconds_sum', 'model')}", "{{model}}"),),
            stacked=True,
        ),
        Panel(
            "Saved against the full network, an hour",
            "MACs that weren't run, at the seconds a MAC that were measured and $cost an hour.",
            (
                Query(
                    f"$cost * {rate('offramp_saved_macs_total', 'model')} * "
                    f"{rate('offramp_request_device_seconds_sum', 'model')} / "
                    f"({rate('offramp_request_compute_macs_sum', 'model')} > 0)",
                    "{{model}}",
                ),
            ),
            stacked=True,
            wide=True,
        ),
    ),
)

PAGES = (BUDGETS, LATENCY, MODEL, TENANTS)
