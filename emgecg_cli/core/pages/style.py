"""How every page of medreport looks: light or dark as the reader's system is, readable on a telephone, printable."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2230; --soft: #5c6474; --line: #d9dde5; --tint: #f5f7fa;
  --accent: #1f5f8b; --warn: #b3541e; --warned: #fdf4ee; --bad: #b3261e; --good: #2f7d4f;
  --missing: #fde6c8; --missing-line: #9a5b00; --extra: #dfe3fb; --extra-line: #4450b5; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #14171d; --ink: #e3e6ec; --soft: #a0a8b6; --line: #333a46; --tint: #1d222b; --accent: #6fb1dd;
    --warn: #e08a52; --warned: #2b211a; --bad: #ff8a80; --good: #79c797;
    --missing: #4a3510; --missing-line: #e5ad55; --extra: #2a3066; --extra-line: #98a3f5; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.5rem clamp(.8rem, 3vw, 2.5rem) 3rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .2rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 2px solid var(--accent); }
h3 { font-size: 1rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
h4 { font-size: .78rem; margin: 0 0 .2rem; color: var(--soft); text-transform: uppercase; letter-spacing: .05em; }
p { margin: 0 0 .6rem; }
.warning { margin: 0; padding: .5rem .8rem; border-left: 4px solid var(--warn); background: var(--warned); }
.key, .notes { color: var(--soft); font-size: .875rem; }
.key mark { margin-right: .6rem; }
.caveats { margin: .6rem 0; padding-left: 1.2rem; }
.shown { grid-column: 1 / -1; }
.shown figure { margin: .4rem 0 0; }
.notes { padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin-bottom: .6rem; }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; font-variant-numeric: tabular-nums;
  min-width: 100%; }
th, td { padding: .45rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; min-width: 6.5rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
td { white-space: nowrap; }
th small { display: block; color: var(--soft); font-weight: 400; font-size: .83em; overflow-wrap: normal; }
td small { display: block; color: var(--soft); font-size: .83em; }
td.none { color: var(--soft); }
tbody tr:hover > * { background: var(--tint); }
td b { font-weight: 700; }
dl { margin: 0; font-size: .875rem; }
dt { font-weight: 600; margin-top: .3rem; }
dd { margin: 0 0 0 1rem; font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .75rem;
  overflow-wrap: anywhere; }
article { margin: 0 0 1.6rem; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem; }
figure { margin: 0 0 .9rem; overflow-x: auto; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; }
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); gap: .8rem 1.6rem; }
.texts p { margin: 0; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); gap: 1rem 1.6rem;
  margin: 0 0 1rem; align-items: start; }
svg.chart { min-width: 0; max-width: 26rem; font-size: 12px; fill: var(--ink); }
.chart rect { fill: var(--accent); }
.chart .count { fill: var(--soft); font-variant-numeric: tabular-nums; }
.chart .title { font-weight: 600; font-size: 13px; }
.chart rect.bad { fill: var(--warn); }
.chart .whisker { fill: none; stroke: var(--ink); stroke-width: 1.2; }
.chart .axis { fill: none; stroke: var(--soft); stroke-width: 1; }
.chart path[class^=line] { fill: none; stroke-width: 1.6; }
.chart path.line0 { stroke: var(--accent); } .chart text.line0, .chart circle.line0 { fill: var(--accent); }
.chart path.line1 { stroke: var(--warn); } .chart text.line1, .chart circle.line1 { fill: var(--warn); }
.chart path.line2 { stroke: var(--good); } .chart text.line2, .chart circle.line2 { fill: var(--good); }
.chart path.line3 { stroke: var(--soft); } .chart text.line3, .chart circle.line3 { fill: var(--soft); }
table.facts { min-width: min(100%, 46rem); }
table.facts th, table.facts td { white-space: normal; text-align: left; padding: .35rem .7rem; }
table.facts td { overflow-wrap: anywhere; }
table.facts .number { white-space: nowrap; text-align: right; min-width: 0; }
table.facts thead th { min-width: 0; }
table.facts th:first-child { position: static; min-width: 8rem; }
table.facts.record th:first-child { width: 9rem; min-width: 0; }
table.facts tbody th { font-weight: 400; }
table.cells td { white-space: nowrap; overflow-wrap: normal; }
table.facts.cells th:first-child { position: sticky; min-width: 17rem; }
table.cells tbody th { font-weight: 600; }
@media (max-width: 32rem) {
  table.facts th, table.facts td { padding: .35rem .4rem; }
  table.facts th:first-child { min-width: 6rem; }
  table.facts.record th:first-child { width: 5rem; }
  table.facts.cells th:first-child { min-width: 11rem; }
}
main h3 { margin-top: 1.4rem; }
article h3 { margin-top: 0; }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .875em; overflow-wrap: anywhere; }
mark { padding: .05em .15em; border-radius: .2em; color: inherit; }
mark.missing { background: var(--missing); text-decoration: underline dotted var(--missing-line) 2px;
  text-underline-offset: .2em; }
mark.extra { background: var(--extra); text-decoration: underline solid var(--extra-line) 2px;
  text-underline-offset: .2em; }
@page { margin: 10mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  article { break-inside: avoid; padding: .5rem; margin-bottom: .5rem; }
  h2, h3, .key { break-after: avoid; }
  svg { min-width: 0; }
  .scroll, figure { overflow: visible; margin-bottom: .4rem; }
  table { font-size: 7.5pt; }
  th, td { padding: .25rem .35rem; }
  table.facts, .chart { break-inside: avoid; }
  mark, svg, .warning { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
