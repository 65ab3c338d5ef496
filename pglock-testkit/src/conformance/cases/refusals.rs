//! Servers that answer, but refuse.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pglock_core::ErrorKind;

use super::{assert_advice, connect, execute};
use crate::conformance::{Lab, Options, group, shown, soon};
use crate::postgres::{StopMode, TestServer};

group! { refusals:
    wrong_password_is_reported_as_denied: Postgres,
    missing_database_is_reported_as_an_invalid_option: Postgres,
    revoked_rights_are_reported_as_denied: Postgres,
    hot_standby_is_refused: Postgres,
}

const SECRET: &str = "Wq4-secret-7Hz";

pub async fn wrong_password_is_reported_as_denied(lab: &Lab) {
    let rules = std::env::temp_dir().join(format!("pglock-hba-{}", std::process::id()));
    let text = "host all guarded all scram-sha-256\nhost all all all trust\nlocal all all trust\n";
    fs::write(&rules, text).unwrap();
    let settings = [("hba_file", rules.to_str().unwrap()), ("log_connections", "on")];
    let server = TestServer::private_with(&settings).await.unwrap();
    execute(&connect(server.url()).await, "CREATE ROLE guarded LOGIN PASSWORD 'right'").await;
    let url = server.url().replace("test:test@", &format!("guarded:{SECRET}@"));
    let words = ["check user, password and pg_hba.conf"];
    assert_refused(lab, &server, &url, ErrorKind::PermissionDenied, &words).await;
    fs::remove_file(rules).unwrap();
}

pub async fn missing_database_is_reported_as_an_invalid_option(lab: &Lab) {
    let server = TestServer::private_with(&[("log_connections", "on")]).await.unwrap();
    let url = server.url().replace(":test@", &format!(":{SECRET}@"));
    let url = format!("{url}_missing");
    let words = ["create it or name another one"];
    assert_refused(lab, &server, &url, ErrorKind::InvalidOptions, &words).await;
}

pub async fn revoked_rights_are_reported_as_denied(lab: &Lab) {
    let server = TestServer::private_with(&[("log_connections", "on")]).await.unwrap();
    let admin = connect(server.url()).await;
    execute(&admin, "CREATE ROLE plain LOGIN").await;
    let url = server.url().replace("test:test@", &format!("plain:{SECRET}@"));
    for function in ["pg_try_advisory_lock(bigint)", "pg_control_system()"] {
        let function = format!("FUNCTION pg_catalog.{function}");
        execute(&admin, &format!("REVOKE EXECUTE ON {function} FROM PUBLIC")).await;
        let name = function.split(['.', '(']).nth(1).unwrap();
        let words =
            ["the role lacks a right", "EXECUTE on the function that the cause names", name];
        assert_refused(lab, &server, &url, ErrorKind::PermissionDenied, &words).await;
        execute(&admin, &format!("GRANT EXECUTE ON {function} TO plain")).await;
    }
    let (_, database) = url.rsplit_once('/').unwrap();
    execute(&admin, &format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")).await;
    let words = ["grant it CONNECT on the database"];
    assert_refused(lab, &server, &url, ErrorKind::PermissionDenied, &words).await;
    execute(&admin, &format!("GRANT CONNECT ON DATABASE {database} TO plain")).await;
    let manager = lab.manager_at(&url, &Options::default()).unwrap();
    manager.lock("key").write().await.unwrap().release().await.unwrap();
}

pub async fn hot_standby_is_refused(lab: &Lab) {
    let server = TestServer::private_with(&[("log_connections", "on")]).await.unwrap();
    let admin = connect(server.url()).await;
    let row = admin.client().query_one("SHOW data_directory", &[]).await.unwrap();
    let signal = Path::new(row.get::<_, &str>(0)).join("standby.signal");
    server.stop(StopMode::Fast).await.unwrap();
    fs::write(signal, "").unwrap();
    server.start().await.unwrap();
    let url = server.url().replace(":test@", &format!(":{SECRET}@"));
    let words = ["connect to the primary"];
    assert_refused(lab, &server, &url, ErrorKind::UnsupportedServer, &words).await;
}

/// Checks the kind and the advice: at once, after few attempts, and without the password.
async fn assert_refused(
    lab: &Lab,
    server: &TestServer,
    url: &str,
    kind: ErrorKind,
    words: &[&str],
) {
    let manager = lab.manager_at(url, &Options::default()).unwrap();
    let lock = manager.lock("key");
    let before = attempts(server);
    let begin = Instant::now();
    let errors = [
        soon("try_write", lock.try_write()).await.map(drop).unwrap_err(),
        soon("write", lock.write()).await.map(drop).unwrap_err(),
        soon("try_write_for", lock.try_write_for(Duration::from_secs(60))).await.unwrap_err(),
    ];
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // A loop of attempts would still be running now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let made = attempts(server) - before;
    assert!(made <= 9, "{made} connections for 3 calls");
    println!("{made} connections for 3 calls");
    for error in errors {
        assert_advice(&error, kind, words);
        assert!(!shown(&error).contains(SECRET), "{error:?}");
    }
    assert!(!format!("{manager:?}{lock:?}").contains(SECRET));
}

fn attempts(server: &TestServer) -> usize {
    server.log().unwrap().matches("connection received").count()
}
