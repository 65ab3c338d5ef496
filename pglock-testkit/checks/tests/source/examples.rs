//! Each public item has an example, or belongs to an item whose example shows it.

use std::collections::HashMap;

use super::text::{Source, repository, shipped, words};

/// A public item, as its source shows it.
struct Item {
    name: String,
    /// The type or trait of a method.
    parent: Option<String>,
    docs: String,
}

/// What an example must do to cover the items that belong to its type, trait or module.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    Name,
    /// For tools: any example suffices.
    Exist,
}

/// Types and traits that users need not name.
const UNNAMED: [&str; 7] = [
    "DieselSession",
    "DieselTransaction",
    "FaultySession",
    "Lend",
    "MemorySession",
    "SqlxSession",
    "SqlxTransaction",
];

#[test]
fn every_public_item_has_an_example() {
    let mut without = Vec::new();
    let mut found = 0;
    for (package, duty) in [
        ("pglock-core", Duty::Name),
        ("pglock-diesel", Duty::Name),
        ("pglock-sqlx", Duty::Name),
        ("pglock-testkit", Duty::Exist),
    ] {
        let sources = shipped(&format!("{package}/src"));
        found += sources.iter().map(|source| items(source).len()).sum::<usize>();
        without.extend(items_without_example(&sources, duty));
    }
    assert!(found > 300, "{found}");
    assert_eq!(without, [""; 0]);
}

/// Items that no example shows, as "file: item".
fn items_without_example(sources: &[Source], duty: Duty) -> Vec<String> {
    let modules: HashMap<_, _> = sources.iter().map(|source| (module(source), source)).collect();
    let mut types = HashMap::<_, String>::new();
    for Item { name, parent, docs } in sources.iter().flat_map(items) {
        types.entry(parent.unwrap_or(name)).or_default().push_str(&examples(&docs));
    }
    let mut without = Vec::new();
    // Cases are tests.
    let is_shown = |source: &&Source| !module(source).split('/').any(|part| part == "cases");
    for source in sources.iter().filter(is_shown) {
        let is_near = |path: &&str| duty == Duty::Name || !path.is_empty();
        let around = modules_around(source).filter(is_near).filter_map(|path| modules.get(path));
        let around: String = around.map(|source| page(source)).collect();
        for Item { name, parent, docs } in items(source) {
            let of_type = &types[parent.as_ref().unwrap_or(&name)];
            let shows = |examples: &str| match duty {
                Duty::Name => words(examples).any(|(_, word)| word == name || word == LINK),
                Duty::Exist => !examples.is_empty(),
            };
            let is_unnamed = UNNAMED.contains(&&**parent.as_ref().unwrap_or(&name));
            if examples(&docs).is_empty() && !shows(&around) && !shows(of_type) && !is_unnamed {
                let parent = parent.map(|parent| format!("{parent}::")).unwrap_or_default();
                without.push(format!("{}: {parent}{name}", source.path));
            }
        }
    }
    without
}

/// The path of the item's module in the crate: empty for `lib.rs`.
fn module(source: &Source) -> &str {
    let path = source.path.trim_end_matches(".rs");
    let path = path.split_once("/src/").map_or(path, |(_, path)| path);
    if path == "lib" { "" } else { path }
}

/// The module itself and its parents, up to the root of the crate.
fn modules_around(source: &Source) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(module(source)), |path| match path.rsplit_once('/') {
        Some((parent, _)) => Some(parent),
        None => Some("").filter(|_| !path.is_empty()),
    })
}

/// The examples in the documentation of a module, which may be a README.
fn page(source: &Source) -> String {
    let lines = source.text.lines().filter_map(|line| line.strip_prefix("//!"));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    if source.text.contains("include_str!(\"../README.md\")") {
        let package = source.path.split('/').next().unwrap_or_default();
        let readme = repository().join(package).join("README.md");
        text += &std::fs::read_to_string(readme).unwrap();
    }
    examples(&text)
}

/// Stands for a link to an example in another file.
const LINK: &str = "__link";

/// The Rust code in documentation.
fn examples(docs: &str) -> String {
    let mut code = String::new();
    if docs.contains("#examples)") {
        code.push_str(LINK);
        code.push('\n');
    }
    let mut language = None;
    for line in docs.lines() {
        match (line.trim().strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(_)) => language = None,
            (None, Some("" | "ignore" | "no_run" | "rust" | "rust,no_run")) => {
                code.push_str(line);
                code.push('\n');
            }
            (None, _) => {}
        }
    }
    code
}

/// The public items of a file: in modules, and in types and traits.
fn items(source: &Source) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut docs, mut attributes) = (String::new(), String::new());
    let mut block: Option<(usize, Block)> = None;
    for line in source.text.lines() {
        let code = line.trim_start();
        let depth = line.len() - code.len();
        if let Some(text) = code.strip_prefix("///") {
            docs.push_str(text);
            docs.push('\n');
            continue;
        }
        if code.starts_with("#[") {
            attributes.push_str(code);
            // A code fence that depends on a feature.
            if code.contains("doc = \"```") && !docs.ends_with("```\n") {
                docs.push_str("```\n");
            }
            continue;
        }
        if !code.is_empty() && block.as_ref().is_some_and(|(outer, _)| depth <= *outer) {
            block = None;
        }
        let inner = block.as_ref().filter(|(outer, _)| depth == outer + 4);
        let is_hidden = attributes.contains("doc(hidden)");
        match declared(code, &attributes, inner.map(|(_, block)| block)) {
            Some(name) if !is_hidden && !name.starts_with('$') => {
                let parent = inner.map(|(_, block)| block.name.clone());
                items.push(Item { name: name.to_owned(), parent, docs: docs.clone() });
            }
            _ => {}
        }
        if block.is_none() {
            block = Block::begins(code).map(|block| (depth, block));
        }
        if !code.is_empty() {
            docs.clear();
            attributes.clear();
        }
    }
    items
}

/// The items that contain methods.
struct Block {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inherent,
    PublicTrait,
    /// Its methods are private, or documented in another place.
    Other,
}

impl Block {
    fn begins(code: &str) -> Option<Self> {
        let is_impl = code.starts_with("impl ") || code.starts_with("impl<");
        let (kind, header) = match code.strip_prefix("pub trait ") {
            Some(header) => (Kind::PublicTrait, header),
            None if is_impl && code.contains(" for ") => (Kind::Other, code),
            None if is_impl => (Kind::Inherent, after_parameters(&code["impl".len()..])),
            None => return None,
        };
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let name = header.trim_start().split(|c| !is_part(c)).find(|part| *part != "dyn")?;
        Some(Self { name: name.to_owned(), kind })
    }
}

/// The rest after generic parameters `<…>`, if it begins with them.
fn after_parameters(code: &str) -> &str {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if at == 0 { code } else { &code[at + 1..] };
        }
    }
    code
}

/// The name of the public item that this line declares.
fn declared<'a>(code: &'a str, attributes: &str, block: Option<&Block>) -> Option<&'a str> {
    let exported = attributes.contains("macro_export");
    let mut rest = match (block.map(|block| block.kind), code.strip_prefix("pub ")) {
        (None | Some(Kind::Inherent), Some(rest)) => rest,
        (Some(Kind::PublicTrait), None) => code,
        (None, None) if exported => code,
        _ => return None,
    };
    let qualifier = |rest: &'a str| match rest.strip_prefix("const ") {
        Some(after) if !after.starts_with("fn ") && !after.starts_with("async ") => None,
        Some(after) => Some(after),
        None => rest.strip_prefix("async "),
    };
    while let Some(after) = qualifier(rest) {
        rest = after;
    }
    let keywords = ["fn ", "struct ", "enum ", "trait ", "type ", "const ", "macro_rules! "];
    let name = keywords.iter().find_map(|keyword| rest.strip_prefix(keyword))?;
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    name.split(|c| !is_part(c)).next()
}

#[test]
fn item_without_example_is_found() {
    let source = |path: &str, text: &str| Source::new(&format!("pglock-x/src/{path}.rs"), text);
    let sources = [
        source("lib", "//! ```\n//! shown(Shown)\n//! ```\npub fn bare() {}\n"),
        source(
            "a/b",
            "\
/// Text.
pub struct Shown;
impl<T> Shown<T> {
    /// Own example:
    ///
    /// ```
    /// x()
    /// ```
    pub async fn own(&self) {}
    pub const fn missing(&self) {}
    pub(crate) fn private(&self) {}
}
impl Clone for Shown {
    fn clone(&self) {}
}
/// ```
/// impl Trait { fn known() }
/// ```
pub trait Trait {
    fn known(&self);
    async fn unknown(&self);
}
#[doc(hidden)]
pub fn hidden() {}
/// ```text
/// no example
/// ```
pub enum Text {}
#[macro_export]
macro_rules! makes { () => {} }
",
        ),
        source("cases/c", "pub fn case() {}\n"),
    ];
    let [lib, b] = ["pglock-x/src/lib.rs", "pglock-x/src/a/b.rs"];
    let found = [
        format!("{lib}: bare"),
        format!("{b}: Shown::missing"),
        format!("{b}: Trait::unknown"),
        format!("{b}: Text"),
        format!("{b}: makes"),
    ];
    assert_eq!(items_without_example(&sources, Duty::Name), found);
    let found = [format!("{b}: Text"), format!("{b}: makes")];
    assert_eq!(items_without_example(&sources, Duty::Exist)[1..], found);
}
