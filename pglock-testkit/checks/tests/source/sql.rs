//! Rules for the SQL of the library and its documentation.

use super::text::{Source, shipped, words};

/// Whether this file may contain SQL.
fn is_sql(source: &Source) -> bool {
    source.path == "pglock-core/src/sql.rs" || source.path.starts_with("pglock-core/src/sql/")
}

#[test]
fn all_calls_in_the_sql_are_qualified() {
    let code: String = shipped("pglock-core/src")
        .iter()
        .filter(|source| is_sql(source))
        .map(Source::code)
        .collect();
    assert!(!code.contains("format!"), "SQL text is constant");
    let mut names = 0;
    // Whatever is between quotes; these files contain no escaped quotes.
    for text in code.split('"').skip(1).step_by(2) {
        for (start, name) in words(text) {
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
fn advisory_lock_sql_is_in_one_module() {
    let libraries = shipped("").into_iter().filter(|source| {
        // The witness queries the server with its own SQL.
        let is_library = source.path.starts_with("pglock-") && source.path.contains("/src/");
        is_library && !source.path.starts_with("pglock-testkit/")
    });
    let mut files = 0;
    for source in libraries {
        let code = source.code();
        let has_sql = code.contains("pg_advisory") || code.contains("pg_try_advisory");
        assert!(!has_sql || is_sql(&source), "{}", source.path);
        files += 1;
    }
    assert!(files > 10);
}

#[test]
fn hardening_is_tested_as_it_is_written() {
    let text = include_str!("../../../../GUARANTEES.md");
    let tested = include_str!("../../../src/conformance/cases/hardening.sql");
    assert!(text.contains(&format!("```sql\n{tested}```")), "keep {tested} as in GUARANTEES.md");
}
