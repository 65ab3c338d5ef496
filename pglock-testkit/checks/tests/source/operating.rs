//! `docs/operating.md` explains every error, figure, metric and log line.

use super::text::libraries;

const PAGE: &str = include_str!("../../../../docs/operating.md");

#[test]
fn every_error_kind_is_explained() {
    let kinds = names_in_body("pub enum ErrorKind {", |line| line.strip_suffix(','));
    assert!(kinds.len() >= 14, "{kinds:?}");
    for kind in kinds {
        assert!(PAGE.contains(&format!("\n| `{kind}` | ")), "{kind}");
    }
}

#[test]
fn every_figure_is_explained() {
    let figures = names_in_body("pub struct Stats {", |line| {
        Some(line.strip_prefix("pub ")?.split_once(':')?.0)
    });
    assert!(figures.len() >= 12, "{figures:?}");
    for figure in figures {
        assert!(PAGE.contains(&format!(" | `{figure}` | ")), "{figure}");
    }
}

#[test]
fn every_metric_is_explained() {
    let mut found = 0;
    for source in libraries() {
        let source = source.text;
        for macro_name in ["counter!(", "gauge!(", "histogram!("] {
            for name in source.split(macro_name).skip(1).filter_map(first_text) {
                assert!(PAGE.contains(&format!("\n| `{name}` | ")), "{name}");
                found += 1;
            }
        }
    }
    assert!(found >= 9, "{found}");
}

#[test]
fn every_log_line_is_explained() {
    let page = normalised(PAGE);
    let mut found = 0;
    for source in libraries() {
        for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!(", "span!("] {
            for call in source.text.split(level).skip(1) {
                let call = &call[..end_of_call(call)];
                // None of our log lines contains a quotation mark.
                let Some(text) = call.split('"').skip(1).step_by(2).last() else { continue };
                let text = normalised(&text.replace("\\\n", "\n"));
                assert!(page.contains(&format!("`{text}`")), "{text}, in {}", source.path);
                found += 1;
            }
        }
    }
    assert!(found >= 19, "{found}");
}

/// The names of the lines in the body of the item that begins with this text, in the core.
fn names_in_body(head: &str, name: fn(&str) -> Option<&str>) -> Vec<String> {
    let source = libraries().into_iter().find(|source| source.text.contains(head)).unwrap();
    let (_, body) = source.text.split_once(head).unwrap();
    let body = &body[..body.find("\n}").unwrap()];
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(name).map(str::to_owned).collect()
}

/// The first text between quotation marks.
fn first_text(call: &str) -> Option<&str> {
    call.split('"').nth(1)
}

/// The end of the parenthesis that is open at the beginning.
fn end_of_call(source: &str) -> usize {
    let (mut depth, mut in_text) = (1, false);
    for (place, c) in source.char_indices() {
        match c {
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    source.len()
}

/// With each run of white space replaced by one space.
fn normalised(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
