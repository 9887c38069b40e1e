// The style sheet of report.html. Colours are variables, once for light and once for dark.
#pragma once

namespace graft {

inline constexpr const char *reportStyle = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#16202c;--soft:#5c6b7d;--rule:#e2e7ed;--accent:#2563c9;--band:#2563c922;--good:#12805c;--bad:#b3402a;
--s0:#2563c9;--s1:#12907a;--s2:#c77d12;--s3:#8a4fc4;--s4:#c2456b;--s5:#5b7083;--s6:#4d9a2a;--s7:#9c6b4a}
@media (prefers-color-scheme:dark){:root{--page:#11161d;--card:#1a212b;--ink:#e6ebf1;--soft:#95a3b3;--rule:#2b3541;--accent:#6aa5ff;--band:#6aa5ff26;--good:#45c79a;--bad:#f0866f;
--s0:#6aa5ff;--s1:#3fc4ab;--s2:#e8a94a;--s3:#b98af0;--s4:#f07f9f;--s5:#93a7ba;--s6:#86cf62;--s7:#cf9d7c}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1240px;margin:0 auto;padding:32px 24px 48px}
h1{font-size:26px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:17px;margin:34px 0 12px}
p{margin:0 0 10px;max-width:75ch}
.facts{display:flex;flex-wrap:wrap;gap:4px 22px;margin:0;color:var(--soft)}
.facts div{display:flex;gap:6px}.facts dt{margin:0}.facts dd{margin:0;color:var(--ink)}
.soft{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:22px}
.tile,.card{background:var(--card);border:1px solid var(--rule);border-radius:10px}
.tile{padding:12px 16px}.tile b{display:block;font-size:21px;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}.tile span{color:var(--soft);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(350px,100%),1fr));gap:14px}
.card{padding:14px 16px 10px;min-width:0}
.card header{display:flex;justify-content:space-between;align-items:baseline;gap:12px}
.card h3{font-size:14px;margin:0;font-weight:600}
.card .now{font-variant-numeric:tabular-nums;font-weight:600;white-space:nowrap}
.card .about{color:var(--soft);font-size:12.5px;line-height:1.4;margin:2px 0 8px;min-height:2.8em}
svg{display:block;width:100%;height:auto;overflow:visible}
.grid{stroke:var(--rule)}.tick{fill:var(--soft);font-size:11px;font-variant-numeric:tabular-nums}
.line{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.band{fill:var(--band)}
.dot{fill:var(--accent)}.hit{fill:transparent}.point:hover .dot{stroke:var(--card);stroke-width:1.5;r:4.5px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:14px}
.bar{display:flex;height:18px;border-radius:5px;overflow:hidden;gap:2px;margin:10px 0 12px}.bar i{display:block;min-width:2px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{text-align:right;padding:4px 10px;border-top:1px solid var(--rule);white-space:nowrap;font-weight:400}
thead th{color:var(--soft);border-top:0;font-size:13px;position:sticky;top:0;background:var(--card)}
td:first-child,th:first-child{text-align:left}
.key{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:8px}
tfoot td{font-weight:600}
.scroll{overflow:auto;max-height:480px;padding:0}.scroll td:first-child,.scroll th:first-child{text-align:right;position:sticky;left:0;background:var(--card)}
.scroll thead th:first-child{z-index:1}
.effect{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:14px}
.effect .card{padding-bottom:14px}.effect .change{font-size:21px;font-weight:600;font-variant-numeric:tabular-nums}
.up{color:var(--good)}.down{color:var(--bad)}.before{fill:var(--card);stroke:currentColor;stroke-width:2}.after{fill:currentColor}.move{stroke:currentColor;stroke-width:2.5}
.label{fill:var(--ink);font-size:12px;font-variant-numeric:tabular-nums}
ul{margin:0;padding-left:20px}footer{margin-top:36px;color:var(--soft);font-size:13px}
@media print{body{background:#fff}.card,.tile{break-inside:avoid}.scroll{max-height:none}}
)css";

} // namespace graft
