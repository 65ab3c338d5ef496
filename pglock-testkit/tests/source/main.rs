//! Rules for the SQL text of the library and its documentation, checked on their source.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};

const SQL: &str = include_str!("../../pglock-core/src/sql.rs");

#[test]
fn all_calls_in_the_sql_are_qualified() {
    let code = without_comments_and_tests(SQL);
    assert!(!code.contains("format!"), "SQL text is constant");
    let mut names = 0;
    // What is between quotes; none is escaped in this file.
    for text in code.split('"').skip(1).step_by(2) {
        for (start, name) in names_in(text) {
            let before = &text[..start];
            let called = text[start + name.len()..].starts_with('(');
            // Column aliases, a type's modifier, and a keyword that looks like a function.
            let no_function =
                before.ends_with("AS ") || before.ends_with("::") || name == "coalesce";
            // The name of a role, such as 'pg_signal_backend', is a value.
            let is_value = before.ends_with('\'') && text[start + name.len()..].starts_with('\'');
            let catalog = name.starts_with("pg_") && name != "pg_catalog" && !is_value;
            if (called && name.starts_with(|c: char| c.is_ascii_lowercase()) && !no_function)
                || catalog
            {
                assert!(before.ends_with("pg_catalog."), "{name} in {text}");
                names += 1;
            }
        }
    }
    assert!(names > 40, "{names} names found");
}

#[test]
fn advisory_lock_sql_is_in_one_file() {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for entry in fs::read_dir(testkit.parent().unwrap()).unwrap() {
        let library = entry.unwrap().path();
        let name = library.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The witness asks the server in words of its own.
        if name.starts_with("pglock-") && library != testkit {
            collect(&library.join("src"), &mut files);
        }
    }
    assert!(files.len() > 10);
    for file in files {
        let code = without_comments_and_tests(&fs::read_to_string(&file).unwrap());
        let has_sql = code.contains("pg_advisory") || code.contains("pg_try_advisory");
        assert_eq!(has_sql, file.ends_with("pglock-core/src/sql.rs"), "{}", file.display());
    }
}

#[test]
fn hardening_is_tested_as_it_is_written() {
    let text = include_str!("../../GUARANTEES.md");
    let tested = include_str!("../src/conformance/cases/hardening.sql");
    assert!(text.contains(&format!("```sql\n{tested}```")), "keep {tested} as in GUARANTEES.md");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            files.push(path);
        }
    }
}

fn without_comments_and_tests(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() == "#[cfg(test)]" {
            // To the end of the item: its semicolon, or the brace at its own depth.
            let indentation = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indentation}}}");
            let first = lines.next().unwrap_or_default();
            if !first.ends_with(';') {
                lines.by_ref().find(|line| *line == end);
            }
            continue;
        }
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// The words of a text, each with its place.
fn names_in(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_part(c))
        .map(move |name| (name.as_ptr() as usize - text.as_ptr() as usize, name))
        .filter(|(_, name)| !name.is_empty())
}
