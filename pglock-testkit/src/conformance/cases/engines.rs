//! Servers that resemble PostgreSQL: some of its functions are renamed and replaced.

use pglock_core::{ErrorKind, LockKey};

use super::{assert_advice, connect, execute};
use crate::conformance::{Lab, Options, group, soon};
use crate::postgres::{TestDatabase, TestServer};
use crate::witness::{PostgresWitness, Witness};

group! { engines:
    locks_that_do_nothing_are_refused: Postgres,
    locks_that_cannot_be_released_are_refused: Postgres,
    missing_functions_are_refused_by_name: Postgres,
    server_that_cannot_watch_its_clients_is_not_asked_to: Postgres,
}

const NO_LOCKS: [&str; 2] = ["advisory locks do nothing on this server", "use PostgreSQL"];

pub async fn locks_that_do_nothing_are_refused(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    for stand_in in ["'SELECT true'", "'SELECT NULL::boolean'"] {
        let engine = Engine::on(&server).await;
        for (function, arguments) in [
            ("pg_try_advisory_lock", "bigint"),
            ("pg_try_advisory_lock_shared", "bigint"),
            ("pg_advisory_unlock", "bigint"),
            ("pg_advisory_unlock_shared", "bigint"),
        ] {
            let makes = format!("RETURNS boolean LANGUAGE sql AS {stand_in}");
            engine.replace(function, arguments, &makes).await;
        }
        engine.assert_refused(lab, &NO_LOCKS).await;
    }
}

pub async fn locks_that_cannot_be_released_are_refused(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let engine = Engine::on(&server).await;
    let makes = "RETURNS boolean LANGUAGE sql AS 'SELECT false'";
    engine.replace("pg_advisory_unlock", "bigint", makes).await;
    engine.assert_refused(lab, &NO_LOCKS).await;
}

pub async fn missing_functions_are_refused_by_name(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    for (function, arguments) in [
        ("pg_control_system", ""),
        ("pg_walfile_name", "pg_lsn"),
        ("pg_try_advisory_lock", "bigint"),
    ] {
        let engine = Engine::on(&server).await;
        engine.rename(function, arguments).await;
        let words = ["the server lacks a function or a setting", "use PostgreSQL 13", function];
        engine.assert_refused(lab, &words).await;
    }
}

/// What a server calls itself, and from which version on it can check whether waiting clients are
/// alive.
const SYSTEMS: [(&str, Option<i32>); 4] = [
    ("PostgreSQL 17.0 on x86_64-windows, compiled by msvc-19.41.34120, 64-bit", None),
    ("PostgreSQL 14.5, compiled by Visual C++ build 1914, 64-bit", None),
    ("PostgreSQL 16.4 on aarch64-apple-darwin23.6.0, compiled by clang, 64-bit", Some(15)),
    ("PostgreSQL 15.8 on x86_64-pc-linux-musl, compiled by gcc, 64-bit", Some(14)),
];

/// Every server here refuses the setting, so a refusal shows that the manager has asked for it.
pub async fn server_that_cannot_watch_its_clients_is_not_asked_to(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let engine = Engine::on(&server).await;
    let version = engine.admin.major_version().await.unwrap();
    if version < 14 {
        return lab.not_run("the server has no client_connection_check_interval");
    }
    let refuses = "RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            IF $1 = 'client_connection_check_interval' AND $2 <> '0' THEN
                RAISE 'invalid value for parameter \"%\": %', $1, $2 USING ERRCODE = '22023';
            END IF;
            RETURN pg_catalog.renamed_set_config($1, $2, $3);
        END $$";
    engine.replace("set_config", "text, text, boolean", refuses).await;
    engine.rename("version", "").await;
    for (name, since) in SYSTEMS {
        let names = format!(
            "CREATE OR REPLACE FUNCTION pg_catalog.version() RETURNS text LANGUAGE sql AS $$SELECT '{name}'$$"
        );
        execute(&engine.admin, &names).await;
        if since.is_some_and(|since| version >= since) {
            let words =
                ["the server lacks a function or a setting", "client_connection_check_interval"];
            engine.assert_refused(lab, &words).await;
        } else {
            engine.assert_works(lab).await;
        }
    }
}

/// A database whose own copies of the server's functions are modified.
struct Engine {
    database: TestDatabase,
    admin: PostgresWitness,
}

impl Engine {
    async fn on(server: &TestServer) -> Self {
        let database = server.database().await.unwrap();
        let admin = connect(database.url()).await;
        Self { database, admin }
    }

    async fn rename(&self, function: &str, arguments: &str) {
        let rename = format!(
            "ALTER FUNCTION pg_catalog.{function}({arguments}) RENAME TO renamed_{function}"
        );
        execute(&self.admin, &rename).await;
    }

    async fn replace(&self, function: &str, arguments: &str, makes: &str) {
        self.rename(function, arguments).await;
        let create = format!("CREATE FUNCTION pg_catalog.{function}({arguments}) {makes}");
        execute(&self.admin, &create).await;
    }

    async fn assert_works(&self, lab: &Lab) {
        let key = LockKey::from("key");
        let manager = lab.manager_at(self.database.url(), &Options::default()).unwrap();
        let guard = soon("the lock is free", manager.lock(key).write()).await.unwrap();
        assert_eq!(self.admin.holders(key).await.unwrap().len(), 1);
        guard.release().await.unwrap();
    }

    async fn assert_refused(&self, lab: &Lab, words: &[&str]) {
        let manager = lab.manager_at(self.database.url(), &Options::default()).unwrap();
        let lock = manager.lock("key");
        let errors = [
            soon("try_write", lock.try_write()).await.map(drop).unwrap_err(),
            soon("read", lock.read()).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_advice(&error, ErrorKind::UnsupportedServer, words);
        }
    }
}
