//! The Markdown files work outside rustdoc: links lead to files and headings that exist, and no
//! link works only in rustdoc.

use std::fs;
use std::path::{Path, PathBuf};

use super::text::{repository, sources};

/// A file without the contents of its code.
struct Page {
    path: PathBuf,
    /// The lines outside fenced code, with each span of inline code as [`CODE`].
    text: String,
}

/// Stands for a span of inline code.
const CODE: char = '\u{1}';

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    for page in &pages {
        for target in targets(page) {
            let at = format!("{target}, in {}", page.path.display());
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let path = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            assert!(path.exists(), "no such file: {at}");
            if !heading.is_empty() && path.extension().is_some_and(|extension| extension == "md") {
                let headings = headings(&fs::read_to_string(&path).unwrap());
                assert!(headings.iter().any(|known| known == heading), "no such heading: {at}");
            }
        }
    }
}

#[test]
fn no_link_is_only_for_rustdoc() {
    for page in pages() {
        let definitions = definitions(&page.text);
        for (start, _) in page.text.match_indices('[') {
            let rest = &page.text[start + 1..];
            let Some(end) = rest.find(']') else { continue };
            let (label, after) = (&rest[..end], &rest[end + 1..]);
            let is_code = label.starts_with(CODE) && label.ends_with(CODE);
            if is_code && !after.starts_with(['(', '[', ':']) {
                let known = definitions.iter().any(|(known, _)| known == label);
                assert!(known, "{:?}: {}", page.path, page.text[start..].lines().next().unwrap());
            }
        }
        for target in targets(&page) {
            assert!(!target.contains("::"), "{target}, in {}", page.path.display());
        }
    }
}

/// The README of a package is also shown without the rest of the repository.
#[test]
fn readmes_of_packages_link_to_addresses_only() {
    for page in pages() {
        let folder = page.path.parent().unwrap().file_name().unwrap().to_string_lossy();
        if page.path.ends_with("README.md") && folder.starts_with("pglock-") {
            for target in targets(&page) {
                let is_address = target.starts_with("https://") || target.starts_with('#');
                assert!(is_address, "{target}, in {}", page.path.display());
            }
        }
    }
}

/// As documentation of a module or crate, whose examples are tests.
#[test]
fn rust_on_each_page_is_compiled() {
    let compiled: Vec<_> =
        sources("").iter().flat_map(|source| included(&source.path, &source.text)).collect();
    let mut found = 0;
    for page in pages() {
        if has_rust(&fs::read_to_string(&page.path).unwrap()) {
            let path = page.path.canonicalize().unwrap();
            assert!(compiled.contains(&path), "no doc test compiles {}", page.path.display());
            found += 1;
        }
    }
    assert!(found >= 5, "{found}");
}

/// The files that this one includes as its documentation.
fn included(path: &str, text: &str) -> Vec<PathBuf> {
    let folder = repository().join(path);
    let folder = folder.parent().unwrap();
    let names = text.lines().filter_map(|line| line.split_once("doc = include_str!(\""));
    let names = names.filter_map(|(_, rest)| Some(rest.split_once('"')?.0));
    names.filter_map(|name| folder.join(name).canonicalize().ok()).collect()
}

/// Whether rustdoc would test some code of this page.
fn has_rust(markdown: &str) -> bool {
    let fences = markdown.lines().map(str::trim_start).filter_map(|line| line.strip_prefix("```"));
    // Without a language, it is Rust for rustdoc, and perhaps something else for us.
    fences.step_by(2).any(|language| language.split(',').any(|word| word == "rust"))
}

#[test]
fn rust_of_a_page_is_found() {
    assert!(has_rust("Text.\n\n```sh\nls\n```\n\n```rust,no_run\nf()\n```\n"));
    assert!(!has_rust("Text.\n\n```sh\nrust\n```\n\n```text\nrust\n```\n"));
    let code = "#![doc = include_str!(\"../README.md\")]\nconst X: &str = include_str!(\"x.sql\");";
    let readme = repository().join("pglock-sqlx/README.md").canonicalize().unwrap();
    assert_eq!(included("pglock-sqlx/src/lib.rs", code), [readme]);
}

fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    collect(repository(), &mut pages);
    assert!(pages.len() >= 10);
    pages
}

fn collect(folder: &Path, pages: &mut Vec<Page>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            let is_ours =
                name == ".github" || !name.starts_with('.') && !name.starts_with("target");
            if is_ours && name != "node_modules" {
                collect(&path, pages);
            }
        } else if name.ends_with(".md") {
            let text = without_code(&fs::read_to_string(&path).unwrap());
            pages.push(Page { path, text });
        }
    }
}

/// The text outside code, with a placeholder for each span of inline code.
fn without_code(markdown: &str) -> String {
    let mut prose = String::new();
    let mut fenced = false;
    for line in markdown.lines() {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        if !fenced && !is_fence {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    // In code, what looks like a link is not one.
    let harmless = |c: &char| !"[]():".contains(*c);
    let mut text = String::new();
    for (place, part) in prose.split('`').enumerate() {
        match place % 2 {
            0 => text.push_str(part),
            _ => text.extend([CODE].into_iter().chain(part.chars().filter(harmless)).chain([CODE])),
        }
    }
    text
}

/// The targets of a page's links.
fn targets(page: &Page) -> Vec<String> {
    let inline = page.text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let defined = definitions(&page.text).into_iter().map(|(_, target)| target);
    inline.map(str::to_owned).chain(defined).collect()
}

/// Lines of the form `[label]: target`.
fn definitions(text: &str) -> Vec<(String, String)> {
    let definition = |line: &str| {
        let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
        Some((label.to_owned(), target.to_owned()))
    };
    text.lines().filter_map(definition).collect()
}

/// The anchors of the headings, as code forges derive them.
fn headings(markdown: &str) -> Vec<String> {
    let lines = markdown.lines().filter(|line| line.starts_with('#'));
    let titles = lines.map(|line| line.trim_start_matches('#').trim());
    let anchor = |title: &str| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    titles.map(anchor).collect()
}
