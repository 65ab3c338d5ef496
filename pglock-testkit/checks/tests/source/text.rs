//! Source files, and their text without comments and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file, by its path in the repository.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn code(&self) -> String {
        without_comments_and_tests(&self.text)
    }
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// All Rust files below this folder of the repository; none if there is no such folder.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&repository().join(folder), &mut files);
    files.sort();
    let source = |file: PathBuf| {
        let path = file.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
        Source { path, text: fs::read_to_string(file).unwrap() }
    };
    files.into_iter().map(source).collect()
}

/// The same, without test files.
pub(crate) fn shipped(folder: &str) -> Vec<Source> {
    let is_test = |path: &str| path.split('/').any(|part| part == "tests" || part == "tests.rs");
    sources(folder).into_iter().filter(|source| !is_test(&source.path)).collect()
}

/// The files of the crates that applications use, without test files.
pub(crate) fn libraries() -> Vec<Source> {
    let folders = ["pglock-core/src", "pglock-sqlx/src", "pglock-diesel/src"];
    folders.into_iter().flat_map(shipped).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

pub(crate) fn without_comments_and_tests(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        if trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test,") {
            // To the end of the item: its semicolon, or the closing brace at its own depth.
            let indentation = &line[..line.len() - trimmed.len()];
            let end = format!("{indentation}}}");
            let first = lines.next().unwrap_or_default();
            if !first.ends_with(';') {
                lines.by_ref().find(|line| *line == end);
            }
            continue;
        }
        code.push_str(line.split_once(" // ").map_or(line, |(code, _)| code));
        code.push('\n');
    }
    code
}

/// The words of a text, with their positions.
pub(crate) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_part(c))
        .map(move |name| (name.as_ptr() as usize - text.as_ptr() as usize, name))
        .filter(|(_, name)| !name.is_empty())
}

/// The paths that this code names: those that a `use` imports, and others that begin with `crate`,
/// `self` or `super`.
pub(crate) fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(start) = start_of_use(line) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = line[start..].to_owned();
        while !tree.trim_end().ends_with(';') {
            let Some(next) = lines.next() else { break };
            tree.push_str(next);
        }
        tree.retain(|c| c != '\n' && c != ';');
        flatten("", tree.trim(), &mut paths);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for word in rest.split(|c| !is_part(c)) {
        let (first, further) = word.split_once("::").unwrap_or_default();
        if matches!(first, "crate" | "self" | "super") && !further.is_empty() {
            paths.push(word.to_owned());
        }
    }
    paths
}

/// The start of the imported path, if this line begins a `use`.
fn start_of_use(line: &str) -> Option<usize> {
    let line = line.trim_end();
    let trimmed = line.trim_start();
    let unqualified = match trimmed.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => trimmed,
    };
    let tree = unqualified.strip_prefix("use ")?;
    Some(line.len() - tree.len())
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn flatten(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split_once(" as ").map_or(tree, |(path, _)| path);
        paths.push(format!("{prefix}{}", path.trim()).trim_end_matches("::self").to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    flatten(&prefix, part, paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn every_path_of_a_use_is_found() {
    let code = "\
pub(crate) use a::{self, b::{C, D as E}};
pub use crate::x::Y;
use std::{
    fmt,
    sync::{Arc, Mutex},
};
fn f() { super::g(crate::sql::TEXT) }
";
    let found = [
        "a",
        "a::b::C",
        "a::b::D",
        "crate::x::Y",
        "std::fmt",
        "std::sync::Arc",
        "std::sync::Mutex",
        "super::g",
        "crate::sql::TEXT",
    ];
    assert_eq!(paths(code), found);
}

#[test]
fn tests_and_comments_are_no_code() {
    let source = "\
//! Text
use a; // text
#[cfg(test)]
mod tests;
#[cfg(all(test, feature))]
mod more {
    use b;
}
    #[cfg(not(test))]
    use c;
";
    assert_eq!(without_comments_and_tests(source), "use a;\n    #[cfg(not(test))]\n    use c;\n");
}
