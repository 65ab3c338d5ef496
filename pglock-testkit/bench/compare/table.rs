//! The report in plain text.

use std::fmt::Write;

use crate::report::Row;

/// The rows of one workload.
pub(crate) fn of(rows: &[Row]) -> String {
    let mut text = String::new();
    let Some(first) = rows.first() else {
        return text;
    };
    let _ = writeln!(
        text,
        "\n{} over {}: {}\n{:24}{:>12}{:>8}{:>11}{:>11}{:>11}{:>7}{:>18}{:>10}{:>12}",
        first.workload.name(),
        first.transport,
        first.workload.title(),
        "",
        "per second",
        "spread",
        "p50 us",
        "p99 us",
        "max us",
        "conns",
        "per task",
        "x floor",
        "x conn/lock"
    );
    for row in rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text
}

fn line(row: &Row) -> String {
    if let Some(error) = &row.error {
        return format!("{:24}{error}", row.subject);
    }
    let tasks = match (row.min_task_ops, row.max_task_ops) {
        (Some(min), Some(max)) => format!("{min}..{max}"),
        _ => String::new(),
    };
    let mut line = format!(
        "{:24}{:>12}{:>8}{:>11}{:>11}{:>11}{:>7}{:>18}{:>10}{:>12}",
        row.subject,
        number(row.ops_per_s),
        row.spread.map_or(String::new(), |spread| format!("{:.0} %", spread * 100.0)),
        number(row.p50_us),
        number(row.p99_us),
        number(row.max_us),
        row.server_connections.map_or(String::new(), |count| count.to_string()),
        tasks,
        ratio(row.ratio_to_floor),
        ratio(row.ratio_to_connection_per_lock),
    );
    for (name, value) in &row.figures {
        let _ = write!(line, "  {name} {}", number(Some(*value)));
    }
    if let Some(limit) = &row.limit {
        let _ = write!(line, "  until: {limit}");
    }
    line
}

/// As a whole number, or with at least three digits; with spaces between thousands.
pub(crate) fn number(value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    match value.abs() {
        _ if value.fract() == 0.0 => {}
        size if size < 10.0 => return format!("{value:.2}"),
        size if size < 100.0 => return format!("{value:.1}"),
        _ => {}
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn ratio(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.2}"))
}
