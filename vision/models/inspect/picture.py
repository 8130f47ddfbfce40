"""The graph as an SVG picture: what runs where, from top to bottom."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision.models.inspect.report import Report, Step

_ROW_PX, _BOX_PX, _WIDTH_PX = 26, 20, 300
_MARGIN_PX, _LANE_PX = 12, 8
_LANES = 12  # side lanes for edges that skip rows
_GPU, _CPU, _EDGE = "#d9f2e0", "#ffd9b3", "#8a8f98"

_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'font-family="sans-serif" font-size="11">\n'
    '<rect width="100%" height="100%" fill="white"/>\n'
)


def draw(report: Report) -> str:
    """Return the picture of `report`: green boxes run on a GPU, orange ones on the CPU.

    Operations stand in the order of running. A result that is used further down than in
    the next row goes there along a lane at the right.
    """
    legend_px = 2 * _ROW_PX
    height = legend_px + _ROW_PX * len(report.steps) + 2 * _MARGIN_PX
    width = 2 * _MARGIN_PX + _WIDTH_PX + _LANES * _LANE_PX + 320
    rows = [_HEAD.format(width=width, height=height), _legend(report)]
    rows += [_box(step, _y(step.index)) for step in report.steps]
    rows += [
        _edge(source, target, lane % _LANES) for lane, (source, target) in enumerate(_edges(report))
    ]
    return "".join(rows) + "</svg>\n"


def _y(index: int) -> int:
    return _MARGIN_PX + 2 * _ROW_PX + index * _ROW_PX


def _legend(report: Report) -> str:
    text = f"{report.path.name}: {report.on_gpu} of {len(report.steps)} operations for a GPU"
    return (
        f'<text x="{_MARGIN_PX}" y="{_MARGIN_PX + 12}" font-weight="bold">{escape(text)}</text>\n'
        f'<text x="{_MARGIN_PX}" y="{_MARGIN_PX + 30}">green: GPU, orange: CPU</text>\n'
    )


def _box(step: Step, y: int) -> str:
    fill = _GPU if step.refusal is None else _CPU
    shape = "x".join(map(str, step.shape))
    text = (
        f'<text x="{_MARGIN_PX + 6}" y="{y + 14}">{step.index} {escape(step.name)} {shape}</text>'
    )
    why = ""
    if step.refusal is not None:
        x = _MARGIN_PX + _WIDTH_PX + _LANES * _LANE_PX + 14
        why = f'<text x="{x}" y="{y + 14}" fill="#a04000">{escape(step.refusal)}</text>'
    return (
        f'<rect x="{_MARGIN_PX}" y="{y}" width="{_WIDTH_PX}" height="{_BOX_PX}" rx="4" '
        f'fill="{fill}" stroke="{_EDGE}"/>{text}{why}\n'
    )


def _edge(source: int, target: int, lane: int) -> str:
    start, end = _y(source) + _BOX_PX, _y(target)
    if target == source + 1:
        x = _MARGIN_PX + _WIDTH_PX // 2
        return f'<path d="M{x} {start}V{end}" stroke="{_EDGE}"/>\n'
    right = _MARGIN_PX + _WIDTH_PX
    x = right + 8 + lane * _LANE_PX
    start, end = start - _BOX_PX // 2, end + _BOX_PX // 2
    return f'<path d="M{right} {start}H{x}V{end}H{right}" stroke="{_EDGE}" fill="none"/>\n'


def _edges(report: Report) -> list[tuple[int, int]]:
    """Return which operation's result is used by which; weights have no lines."""
    graph = report.graph
    producer: dict[int, int] = {}
    computed = set(graph.inputs)
    edges: dict[tuple[int, int], None] = {}
    for index, operator in enumerate(graph.operators):
        for number in computed.intersection(operator.inputs) & producer.keys():
            edges[producer[number], index] = None
        if computed.intersection(operator.inputs):
            computed.update(operator.outputs)
            producer.update(dict.fromkeys(operator.outputs, index))
    return list(edges)
