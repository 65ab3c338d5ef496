//! The report as a picture: one panel for each workload over TCP, with a bar for each subject.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::machine::Machine;
use crate::report::Row;
use crate::table::number;
use crate::workload::Workload;

const WIDTH: usize = 800;
const MARGIN: usize = 16;
const COLUMNS: usize = 2;
const PANEL_WIDTH: usize = (WIDTH - MARGIN) / COLUMNS - MARGIN;
const LINE: usize = 18;
const NAMES: usize = 140;
const BARS: usize = 150;

/// Drawn on a card, so that it is readable on a background of any colour.
const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f }
.card { fill: #ffffff; stroke: #d0d7de }
.title { font-weight: 600 }
.soft { fill: #57606a }
.bar { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.card { fill: #0d1117; stroke: #30363d }
.soft { fill: #8d96a0 }
.bar { fill: #6e7681 }
.ours { fill: #4493f8 }
}
";

struct Panel {
    workload: Workload,
    unit: &'static str,
    value: fn(&Row) -> Option<f64>,
}

const PANELS: [Panel; 12] = [
    throughput(Workload::Uncontended),
    throughput(Workload::UncontendedDrop),
    throughput(Workload::OwnKeys),
    Panel {
        workload: Workload::OwnKeys,
        unit: "connections",
        value: |row| row.server_connections.map(|count| count as f64),
    },
    throughput(Workload::OneKey),
    throughput(Workload::OneKeyDrop),
    throughput(Workload::OneKeyMillisecond),
    throughput(Workload::Processes),
    throughput(Workload::ReadMostly),
    throughput(Workload::ReadMostlyShared),
    Panel { workload: Workload::Hold, unit: "keys", value: |row| row.figures.get("held").copied() },
    Panel {
        workload: Workload::WaitersThousand,
        unit: "ms until all had it",
        value: |row| row.figures.get("served_ms").copied(),
    },
];

const fn throughput(workload: Workload) -> Panel {
    Panel { workload, unit: "acquire + release per second", value: |row| row.ops_per_s }
}

/// Draws `docs/bench.svg`.
pub(crate) fn write(rows: &[Row], machine: &Machine) -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bench.svg");
    let rows: Vec<&Row> = rows.iter().filter(|row| row.transport == "tcp").collect();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, draw(&rows, machine))?;
    println!("the chart: {}", path.canonicalize()?.display());
    Ok(())
}

fn draw(rows: &[&Row], machine: &Machine) -> String {
    let subjects = PANELS
        .iter()
        .map(|panel| rows.iter().filter(|row| row.workload == panel.workload).count())
        .max()
        .unwrap_or_default();
    let panel_height = (subjects + 2) * LINE + MARGIN;
    let height = MARGIN + PANELS.len().div_ceil(COLUMNS) * panel_height + 2 * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"Benchmark of pglock\">\n<style>{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n",
        WIDTH - 1,
        height - 1
    );
    for (place, panel) in PANELS.iter().enumerate() {
        let x = MARGIN + (place % COLUMNS) * (PANEL_WIDTH + MARGIN);
        let y = MARGIN + (place / COLUMNS) * panel_height;
        draw_panel(&mut svg, panel, rows, x, y);
    }
    let caption = format!("Medians, over TCP on one machine with the server: {machine}.");
    text(&mut svg, MARGIN, height - LINE, "soft", &caption);
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, rows: &[&Row], x: usize, y: usize) {
    let rows: Vec<_> = rows.iter().filter(|row| row.workload == panel.workload).collect();
    let longest =
        rows.iter().filter_map(|row| (panel.value)(row)).fold(f64::MIN_POSITIVE, f64::max);
    text(svg, x, y + LINE - 5, "title", panel.workload.title());
    text(svg, x, y + 2 * LINE - 6, "soft", panel.unit);
    for (place, row) in rows.iter().enumerate() {
        let top = y + (place + 2) * LINE;
        let base = top + LINE - 5;
        text(svg, x, base, "", row.subject);
        let start = x + NAMES;
        let Some(value) = (panel.value)(row) else {
            text(svg, start, base, "soft", short(row));
            continue;
        };
        let length = (value / longest * BARS as f64).max(1.0);
        let class = if row.subject.starts_with("pglock") { "ours" } else { "bar" };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{start}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\"/>",
            top + 3,
            LINE - 5
        );
        text(svg, start + length.ceil() as usize + 5, base, "", &number(Some(value)));
    }
}

fn short(row: &Row) -> &'static str {
    match row.error.as_deref() {
        Some(error) if error.contains("too many clients") => "too many connections",
        Some(error) if error.contains("lock") => "no release by drop",
        _ => "failed",
    }
}

fn text(svg: &mut String, x: usize, y: usize, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>");
}
