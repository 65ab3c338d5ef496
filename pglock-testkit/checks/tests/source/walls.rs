//! Walls between the modules of core: the pure machine names no runtime, recipes use only the
//! public interface, core knows no SQL client, and modules do not depend on each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{Source, paths, repository, shipped, words};

/// Names that would make the machine depend on a runtime, a clock, or a lock of threads.
const IMPURE: [&str; 7] =
    ["tokio", "loom", "Mutex", "Condvar", "Instant", "SystemTime", "catch_unwind"];

/// What recipes use besides the public interface: a timer for code without a runtime, and the owner
/// of the locks of a set, for the search for deadlocks.
const LENT: [&str; 2] = ["timer", "owner"];

/// The bound of [`TransactionLocks`](pglock_core::TransactionLocks), which is public, too.
const BOUND: [&str; 3] = ["crate", "driver", "Transaction"];

/// Clients for SQL servers, as code names them.
const CLIENTS: [&str; 6] =
    ["sqlx", "diesel", "diesel_async", "tokio_postgres", "postgres", "deadpool_postgres"];

#[test]
fn machine_is_pure() {
    let machine = shipped("pglock-core/src/engine/machine");
    assert!(machine.len() > 10);
    assert_eq!(impurities(&machine), [""; 0]);
}

#[test]
fn recipes_use_the_public_interface() {
    let mut recipes = shipped("pglock-core/src");
    let exports = exports(&recipes);
    recipes.retain(|source| parts(source)[..].starts_with(&["recipes".to_owned()]));
    assert!(recipes.len() > 1);
    assert!(exports.contains_key("LockProvider"));
    assert_eq!(intrusions(&recipes, &exports), [""; 0]);
}

#[test]
fn core_knows_no_sql_client() {
    let core = shipped("pglock-core/src");
    assert!(core.len() > 10);
    assert_eq!(clients(&core), [""; 0]);
    let manifest = std::fs::read_to_string(repository().join("pglock-core/Cargo.toml")).unwrap();
    for line in manifest.lines() {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default().replace('-', "_");
        assert!(!CLIENTS.contains(&&*name), "pglock-core/Cargo.toml: {line}");
    }
}

#[test]
fn modules_of_core_form_no_circle() {
    let core = shipped("pglock-core/src");
    let uses = uses(&core);
    assert!(uses["engine::runtime"].contains("engine::machine"));
    assert!(uses["rwlock"].contains("engine"));
    assert_eq!(circle(&uses), None);
}

fn impurities(machine: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in machine {
        let code = source.code();
        let word = words(&code).map(|(_, word)| word).find(|word| IMPURE.contains(word));
        found.extend(word.map(|word| format!("{} names {word}", source.path)));
        let of_threads = |path: &String| {
            ["std::sync", "core::sync", "std::thread"].iter().any(|module| path.starts_with(module))
        };
        let path = paths(&code).into_iter().find(of_threads);
        let path = path.or_else(|| code.contains("std::sync").then(|| "std::sync".to_owned()));
        found.extend(path.map(|path| format!("{} names {path}", source.path)));
    }
    found
}

fn intrusions(recipes: &[Source], exports: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for source in recipes {
        for path in paths(&source.code()) {
            let absolute = absolute(source, &path);
            let allowed = match &absolute.iter().map(|part| &**part).collect::<Vec<_>>()[..] {
                ["crate", "recipes", ..] => true,
                path if path == BOUND => true,
                ["crate", module, ..] if LENT.contains(module) => true,
                ["crate", .., name] => exports.contains_key(*name),
                _ => true,
            };
            if !allowed {
                found.push(format!("{} uses {path}", source.path));
            }
        }
    }
    found
}

fn clients(core: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in core {
        let code = source.code();
        let mut named = words(&code).filter(|(start, word)| {
            CLIENTS.contains(word) && code[start + word.len()..].starts_with("::")
        });
        found.extend(named.next().map(|(_, client)| format!("{} uses {client}", source.path)));
    }
    found
}

/// The modules that each module of core uses. A module is a file beside `lib.rs` with the folder of
/// the same name, except that each part of the engine counts as a module.
fn uses(core: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<_> = core.iter().map(|source| module(&parts(source))).collect();
    let exports = exports(core);
    let mut uses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for source in core.iter().filter(|source| !parts(source).is_empty()) {
        let user = module(&parts(source));
        let used = uses.entry(user.clone()).or_default();
        for path in paths(&source.code()) {
            let absolute = absolute(source, &path);
            let Some(("crate", [first, rest @ ..])) =
                absolute.split_first().map(|(first, rest)| (&**first, rest))
            else {
                continue;
            };
            // What `lib.rs` exports belongs to the module in which it is defined.
            let exported = exports.get(first).filter(|_| rest.is_empty());
            let name = exported.cloned().unwrap_or_else(|| module(&absolute[1..]));
            if name != user && modules.contains(&name) {
                used.insert(name);
            }
        }
    }
    uses
}

/// The modules that the names of `lib.rs` come from.
fn exports(core: &[Source]) -> BTreeMap<String, String> {
    let root = core.iter().find(|source| parts(source).is_empty());
    let paths = root.map(|root| paths(&root.code())).unwrap_or_default();
    let export = |path: String| {
        let (module, name) = path.rsplit_once("::")?;
        Some((name.to_owned(), module.to_owned()))
    };
    paths.into_iter().filter_map(export).collect()
}

/// Modules that depend on each other in a circle: each uses the next one, and the last one the
/// first.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn search<'a>(
        module: &'a str,
        uses: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|passed| *passed == module) {
            return Some(way[start..].iter().map(|module| (*module).to_owned()).collect());
        }
        if !done.insert(module) {
            return None;
        }
        way.push(module);
        let found = uses.get(module)?.iter().find_map(|used| search(used, uses, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| search(module, uses, &mut Vec::new(), &mut done))
}

/// The module path of a file of core: empty for `lib.rs`.
fn parts(source: &Source) -> Vec<String> {
    let path = source.path.trim_end_matches(".rs");
    let path = path.split_once("/src/").map_or(path, |(_, path)| path);
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// The module that counts: a part of the engine, or else the first module of the path.
fn module(path: &[String]) -> String {
    match path {
        [engine, part, ..]
            if engine == "engine" && part.starts_with(|c: char| c.is_ascii_lowercase()) =>
        {
            format!("engine::{part}")
        }
        [first, ..] => first.clone(),
        [] => "lib".to_owned(),
    }
}

/// The part of the path after `crate`, if it leads into the crate.
fn absolute(source: &Source, path: &str) -> Vec<String> {
    let here = || ["crate".to_owned()].into_iter().chain(parts(source)).collect::<Vec<_>>();
    let mut path = path.split("::").peekable();
    let mut absolute = match path.peek() {
        Some(&"crate") => Vec::new(),
        Some(&"self" | &"super") => here(),
        // A module of the code's own, or another crate.
        Some(first) if source.text.contains(&format!("mod {first};")) => here(),
        _ => Vec::new(),
    };
    for part in path {
        match part {
            "self" => {}
            "super" => {
                absolute.pop();
            }
            part => absolute.push(part.to_owned()),
        }
    }
    absolute
}

#[test]
fn impure_code_is_found() {
    for code in [
        "use tokio::time;",
        "use std::sync::Arc;",
        "use std::{fmt, sync::{Arc}};",
        "type T = std::sync::Weak<()>;",
        "fn f(now: Instant) {}",
        "fn f() { let _ = SystemTime::now(); }",
        "struct S(parking_lot::Mutex<()>);",
        "use std::thread;",
    ] {
        assert_eq!(impurities(&[Source::new("m.rs", code)]).len(), 1, "{code}");
    }
    let pure = "// tokio\nuse std::time::Duration;\n#[cfg(test)]\nuse std::sync::Mutex;\n";
    assert_eq!(impurities(&[Source::new("m.rs", pure)]), [""; 0]);
}

#[test]
fn recipe_that_looks_inside_is_found() {
    let recipe = |code: &str| Source::new("pglock-core/src/recipes/leader.rs", code);
    let exports = ["Locks", "Result"].map(|name| (name.to_owned(), String::new())).into();
    for code in [
        "use crate::engine::Client;",
        "use crate::{Locks, driver::{Driver}};",
        "use super::super::sql;",
        "use crate::rwlock::RwLockInner;",
        "fn f() { crate::engine::f() }",
    ] {
        assert_eq!(intrusions(&[recipe(code)], &exports).len(), 1, "{code}");
    }
    let polite = "use crate::{Locks, Result, timer};\nuse crate::error::Result;\nuse super::queue;\n\
                  use crate::driver::Transaction;\nuse crate::owner::Scope;\nuse std::time::Duration;";
    assert_eq!(intrusions(&[recipe(polite)], &exports), [""; 0]);
}

#[test]
fn sql_client_in_core_is_found() {
    for code in ["use sqlx::PgPool;", "fn f() -> diesel::Result<()> {}"] {
        assert_eq!(clients(&[Source::new("m.rs", code)]).len(), 1, "{code}");
    }
    assert_eq!(clients(&[Source::new("m.rs", "//! As sqlx::PgPool.")]), [""; 0]);
}

#[test]
fn circles_are_found() {
    let core = |files: &[(&str, &str)]| {
        let source =
            |(path, text): &(&str, &str)| Source::new(&format!("pglock-core/src/{path}.rs"), text);
        files.iter().map(source).collect::<Vec<_>>()
    };
    let circles: [&[(&str, &str)]; 4] = [
        &[("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use super::a::A;")],
        &[("a", "use crate::{c, b};"), ("b/deep/down", "fn f() { crate::a::f() }"), ("c", "")],
        &[("lib", "pub use a::A;"), ("a", "use crate::b::B;"), ("b", "use crate::A;")],
        &[
            ("engine/machine/key", "use crate::engine::runtime::Shared;"),
            ("engine/runtime/tasks", "use super::super::machine::State;"),
        ],
    ];
    for files in circles {
        assert!(circle(&uses(&core(files))).is_some(), "{files:?}");
    }
    let tree: &[(&str, &str)] = &[
        ("engine", "mod machine;\nmod runtime;\npub use runtime::R;"),
        ("engine/machine", "use crate::key::Key;"),
        ("engine/runtime", "use super::machine::State;\nuse crate::key::Key;"),
        ("key", "use self::text::T;"),
        ("key/text", "use super::Key;"),
    ];
    assert_eq!(circle(&uses(&core(tree))), None);
    let facade: &[(&str, &str)] = &[
        ("engine", "mod runtime;\npub use runtime::R;"),
        ("engine/runtime", "use crate::engine::R;"),
    ];
    assert!(circle(&uses(&core(facade))).is_some());
}
