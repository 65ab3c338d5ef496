//! Errors that say what the machine or the server lacks.

use std::error::Error;
use std::process::Stdio;

use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::PostgresWitness;

use super::TestResult;
use super::home::Home;

fn answer(home: &Home, variables: &[(&str, &str)]) -> Result<String, Box<dyn Error>> {
    let mut command = home.command("shared")?;
    let output = command.envs(variables.iter().copied()).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn unusable_database_url_is_reported_without_its_password() -> TestResult {
    let home = Home::new()?;
    for url in [
        "postgres://me:canary@127.0.0.1:1/db",
        "postgres://me:canary@nowhere.invalid/db",
        "postgres://me:ca/canary@127.0.0.1:1/db",
        "postgres://me:ca?canary@127.0.0.1:1/db",
        "mysql://me:canary@127.0.0.1:1/db",
    ] {
        let answer = answer(&home, &[("DATABASE_URL", url)])?;
        assert!(answer.contains("DATABASE_URL"), "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
    Ok(())
}

#[test]
fn wrong_binary_folder_is_named() -> TestResult {
    let answer = answer(&Home::new()?, &[("PGLOCK_PG_BIN", "/nowhere")])?;
    assert!(answer.contains("PGLOCK_PG_BIN=/nowhere has no initdb"), "{answer}");
    Ok(())
}

#[test]
fn error_names_the_missing_createdb_right() -> TestResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = TestServer::private().await?;
        let witness = PostgresWitness::connect(server.url()).await?;
        witness.client().batch_execute("CREATE ROLE poor LOGIN").await?;
        let url = server.url().replace("test:test", "poor:canary");
        let home = Home::new()?;
        let mut command = home.command("database")?;
        let output = command.env("DATABASE_URL", url).stdin(Stdio::null()).output()?;
        let answer = String::from_utf8(output.stdout)?;
        assert!(answer.contains("CREATEDB"), "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
        Ok(())
    })
}
