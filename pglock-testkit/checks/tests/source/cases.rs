//! Every conformance case is on a list, so that no case is written and never run.

use std::collections::BTreeSet;

use super::text::{Source, shipped, words};

#[test]
fn every_case_is_listed() {
    let folder = "pglock-testkit/src/conformance/cases";
    let files = shipped(folder);
    let root = shipped("pglock-testkit/src/conformance")
        .into_iter()
        .find(|source| source.path == format!("{folder}.rs"))
        .unwrap();
    assert_eq!(unlisted_groups(&root, &files), [""; 0]);
    let cases: Vec<_> = files.iter().flat_map(unlisted_cases).collect();
    assert_eq!(cases, [""; 0]);
}

/// Files of cases that the list of groups does not name.
fn unlisted_groups(root: &Source, files: &[Source]) -> Vec<String> {
    let list = between(&root.text, "__groups! {", '}');
    let listed: BTreeSet<_> = words(list).map(|(_, word)| word).collect();
    let has_cases = |source: &&Source| !cases(source).is_empty();
    let name = |source: &Source| source.path.rsplit('/').next().unwrap().replace(".rs", "");
    files
        .iter()
        .filter(has_cases)
        .map(name)
        .filter(|group| !listed.contains(group.as_str()))
        .collect()
}

/// Cases that the list of their own file does not name.
fn unlisted_cases(source: &Source) -> Vec<String> {
    let list = between(&source.text, "\ngroup! {", '}');
    let listed: BTreeSet<_> = words(list).map(|(_, word)| word).collect();
    cases(source).into_iter().filter(|case| !listed.contains(case.as_str())).collect()
}

/// The functions of a file that look like cases.
fn cases(source: &Source) -> Vec<String> {
    let case = |line: &str| {
        let name = line.strip_prefix("pub async fn ")?.strip_suffix("(lab: &Lab) {")?;
        Some(name.to_owned())
    };
    source.text.lines().filter_map(case).collect()
}

/// What stands between a text and the first such sign after it.
fn between<'a>(text: &'a str, begin: &str, end: char) -> &'a str {
    let after = text.split_once(begin).map_or("", |(_, after)| after);
    after.split(end).next().unwrap_or_default()
}

#[test]
fn cases_that_never_run_are_found() {
    let text = "\
group! { locks:
    a,
    b: Process,
}

pub async fn a(lab: &Lab) {
}

pub async fn b(lab: &Lab) {
}

pub async fn c(lab: &Lab) {
}

async fn helper(lab: &Lab) {
}
";
    let file = Source::new("cases/locks.rs", &format!("//! Text.\n\n{text}"));
    assert_eq!(unlisted_cases(&file), ["c"]);
    let root = Source::new("cases.rs", "$crate::__groups! { $define keys, #[cfg(unix)] leaks, }");
    let (keys, leaks) = (Source::new("cases/keys.rs", text), Source::new("cases/leaks.rs", text));
    let helpers = Source::new("cases/listening.rs", "fn f() {}\n");
    assert_eq!(unlisted_groups(&root, &[file, keys, leaks, helpers]), ["locks"]);
}
