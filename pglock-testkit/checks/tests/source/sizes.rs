//! Files and functions are short, and each file begins with a sentence.

use super::text::{Source, sources};

/// The most lines of a file.
const FILE: usize = 300;

/// The most lines of a function.
const FUNCTION: usize = 60;

#[test]
fn files_are_short() {
    let long = sources("").into_iter().filter(is_long).map(|source| source.path);
    assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn functions_are_short() {
    let sources = sources("");
    let long = sources.iter().flat_map(|source| {
        let named = |name| format!("{}: {name}", source.path);
        long_functions(&source.text).into_iter().map(named)
    });
    assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_file_begins_with_a_sentence() {
    let silent = sources("").into_iter().filter(|source| !begins_with_sentence(&source.text));
    assert_eq!(silent.map(|source| source.path).collect::<Vec<_>>(), [""; 0]);
}

fn is_long(source: &Source) -> bool {
    source.text.lines().count() > FILE
}

/// The names of functions with too many lines. Expects rustfmt's layout.
fn long_functions(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function(line) else { continue };
        let indentation = &line[..line.len() - line.trim_start().len()];
        let (body, arguments) = (format!("{indentation}}}"), format!("{indentation})"));
        let is_end =
            |line: &&str| *line == body || line.starts_with(&arguments) && line.ends_with(';');
        let is_whole = line.ends_with(';') || line.ends_with('}');
        let rest = lines[start..].iter().position(is_end).unwrap_or_default();
        if !is_whole && rest + 1 > FUNCTION {
            long.push(name);
        }
    }
    long
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let (before, name) = line.split_once("fn ")?;
    let is_qualifier = |word: &str| {
        matches!(word, "async" | "const" | "default" | "extern" | "unsafe") || word.starts_with("pub")
            // For example `pub(in super::super)`.
            || word.ends_with(')')
    };
    let name = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
    (before.split_whitespace().all(is_qualifier) && !name.is_empty()).then_some(name)
}

/// Whether the first paragraph of the file documents the file, and is a sentence.
fn begins_with_sentence(text: &str) -> bool {
    if text.starts_with("#![doc = include_str!(") {
        return true;
    }
    let lines = text.lines().map_while(|line| line.strip_prefix("//! "));
    let paragraph = lines.collect::<Vec<_>>().join(" ");
    paragraph.contains(". ") || paragraph.ends_with(['.', ':'])
}

#[test]
fn long_files_are_found() {
    let lines = |count: usize| Source::new("m.rs", &"x\n".repeat(count));
    assert!(is_long(&lines(301)));
    assert!(!is_long(&lines(300)));
}

#[test]
fn long_functions_are_found() {
    let function = |header: &str, lines: usize| {
        format!("impl X {{\n    {header} {{\n{}    }}\n}}\n", "        x();\n".repeat(lines - 2))
    };
    for header in ["fn f()", "pub(crate) async fn f(&self)", "const fn f<T>() -> Result<T>"] {
        assert_eq!(long_functions(&function(header, 61)), ["f"], "{header}");
        assert_eq!(long_functions(&function(header, 60)), [""; 0], "{header}");
    }
    let declarations =
        format!("fn f();\nfn g(\n    x: X,\n) -> Y;\nfn h() {{}}\n{}}}\n", "\n".repeat(90));
    assert_eq!(long_functions(&declarations), [""; 0]);
}

#[test]
fn files_without_a_sentence_are_found() {
    assert!(begins_with_sentence("//! What it is, which takes\n//! two lines.\n\nuse x;\n"));
    assert!(begins_with_sentence("#![doc = include_str!(\"../README.md\")]\n"));
    for text in
        ["", "use x;\n", "//! no sentence\n", "\n//! Too late.\n", "use x;\n//! Too late.\n"]
    {
        assert!(!begins_with_sentence(text), "{text:?}");
    }
}
