//! What an adapter adds to a program that has its client already: few crates, and none that needs
//! a newer compiler than the adapter claims to need.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const SQLX: Program = Program {
    adapter: "pglock-sqlx",
    client: r#"
        sqlx = { version = "0.9", default-features = false, features = ["postgres", "runtime-tokio"] }
    "#,
    most: 5,
};

const DIESEL: Program = Program {
    adapter: "pglock-diesel",
    client: r#"
        diesel = { version = "2.3", default-features = false, features = ["postgres_backend"] }
        diesel-async = { version = "0.9", default-features = false, features = ["postgres"] }
    "#,
    most: 8,
};

#[test]
fn sqlx_adapter_adds_few_crates() {
    SQLX.adds_few_crates();
}

#[test]
fn diesel_adapter_adds_few_crates() {
    DIESEL.adds_few_crates();
}

#[test]
fn sqlx_adapter_needs_the_compiler_it_names() {
    SQLX.needs_the_compiler_it_names();
}

#[test]
fn diesel_adapter_needs_the_compiler_it_names() {
    DIESEL.needs_the_compiler_it_names();
}

/// A program that uses a client, with tokio, and perhaps the adapter for it.
struct Program {
    adapter: &'static str,
    client: &'static str,
    /// How many crates the adapter may add.
    most: usize,
}

impl Program {
    fn adds_few_crates(&self) {
        let folder = self.write("crates");
        let (without, with) = (tree(&folder, &[]), tree(&folder, &["--features=locks"]));
        let added: Vec<_> = with.difference(&without).collect();
        println!("{} adds {} crates to {}: {added:?}", self.adapter, added.len(), without.len());
        assert!(without.len() > 50 && without.is_subset(&with));
        assert!(
            added.len() <= self.most,
            "{} may add {} crates: {added:?}",
            self.adapter,
            self.most
        );
    }

    fn needs_the_compiler_it_names(&self) {
        let folder = self.write("compiler");
        let optional =
            ["metrics", "tokio-util", "uuid"].map(|name| format!("{}/{name}", self.adapter));
        let features = format!("--features=locks,{}", optional.join(","));
        let version = cargo(&folder, &["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let options = ["metadata", "--format-version=1", &features, "--filter-platform"];
        let metadata = cargo(&folder, &[&options[..], &[host]].concat());
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let version = |package: &Value| package["rust_version"].as_str().map(minor);
        let own = packages.iter().find(|package| package["name"] == self.adapter).unwrap();
        let own = version(own).unwrap();
        let used = tree(&folder, &[&features]);
        for package in packages {
            let name = format!(
                "{} v{}",
                package["name"].as_str().unwrap(),
                package["version"].as_str().unwrap()
            );
            if used.contains(&name) {
                assert!(version(package) <= Some(own), "{name} needs {:?}", version(package));
            }
        }
    }

    /// Writes the program, with the versions of this workspace.
    fn write(&self, name: &str) -> PathBuf {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.adapter).join(name);
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("src/main.rs"), "fn main() {}\n").unwrap();
        fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        let manifest = format!(
            r#"
                [package]
                name = "program"
                edition = "2024"
                [features]
                locks = ["dep:{adapter}"]
                [dependencies]
                {client}
                tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}
                {adapter} = {{ path = '{path}', optional = true }}
                [workspace]
            "#,
            adapter = self.adapter,
            client = self.client,
            path = workspace.join(self.adapter).display(),
        );
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        folder
    }
}

/// The crates that are built for the program, each as "name vVERSION".
fn tree(folder: &Path, options: &[&str]) -> BTreeSet<String> {
    let tree = ["tree", "--edges=normal,build", "--prefix=none", "--format={p}"];
    let text = cargo(folder, &[&tree[..], options].concat());
    let crates = text.lines().map(|line| {
        let mut words = line.split(' ');
        format!("{} {}", words.next().unwrap(), words.next().unwrap_or_default())
    });
    crates.filter(|name| !name.starts_with("program ") && name != " ").collect()
}

fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    // Nothing is downloaded: what is built has been.
    let output = command.current_dir(folder).args(arguments).arg("--offline").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// 94 for "1.94" and "1.94.1".
fn minor(version: &str) -> u32 {
    version.split('.').nth(1).unwrap().parse().unwrap()
}
