//! A test for adapters: all connections use TLS.
//!
//! It makes certificates with `openssl`, which comes with PostgreSQL's packages. Each adapter
//! passes them to its client in its own way.
//!
//! # Examples
//!
//! ```ignore
//! use pglock_testkit::encrypted::assert_encrypted;
//!
//! #[tokio::test]
//! async fn every_connection_uses_tls() {
//!     assert_encrypted("every_connection_uses_tls", |url, authority| {
//!         let options = format!("sslmode=verify-full&sslrootcert={}", authority.display());
//!         MyDriver::from_url(&format!("{url}?{options}")).unwrap()
//!     })
//!     .await;
//! }
//! ```

// A test: it fails by panicking, and the panic says what is wrong.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pglock_core::driver::Driver;
use pglock_core::{ErrorKind, Locks};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::conformance::{shown, soon};
use crate::faults::{Direction, FaultError, Frame, Proxy, allowed};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

const PASSWORD: &str = "kanarienvogel-9tQ";
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens every kind of connection that a manager makes, through a [`Proxy`], to a server that
/// accepts only TLS. The proxy must see nothing but TLS.
///
/// `driver` makes a driver for a URL. It must verify the server's certificate and name, as
/// `sslmode=verify-full` does, and trust the certificate in the file. `test` is the name of the
/// test, which is reported as not run if PostgreSQL was built without TLS.
pub async fn assert_encrypted<D: Driver>(test: &str, driver: fn(&str, &Path) -> D) {
    let server = TestServer::private().await.unwrap();
    let witness = PostgresWitness::connect(&server.socket_url().unwrap()).await.unwrap();
    let files = TempDir::new().unwrap();
    let Some(authority) =
        allowed(test, require_tls(&server, &witness, files.path()).await).unwrap()
    else {
        return;
    };
    let proxy = Proxy::start(server.url()).unwrap();
    let url = proxy.url().replace("test:test@", &format!("test:{PASSWORD}@"));

    connect_in_every_way(&witness, || Locks::new(driver(&url, &authority))).await;
    // A server that fails verification must not learn the password.
    let stranger = make_authority(files.path(), "stranger").unwrap();
    assert_refused("authority", driver(&url, &stranger)).await;
    let other_name = url.replace("127.0.0.1", "localhost");
    assert_refused("name of the server", driver(&other_name, &authority)).await;
    assert_only_tls(&proxy);
}

/// Takes a lock, waits for one, cancels a wait, and connects again after a loss.
async fn connect_in_every_way(witness: &PostgresWitness, manager: impl Fn() -> Locks) {
    let (a, b) = (manager(), manager());
    let guard = a.rwlock("key").write().await.unwrap();
    // Connects first, so that the timeout does not include connecting.
    b.check().await.unwrap();
    let timeout = b.rwlock("key").try_write_for(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    let lock = b.rwlock("key");
    let wait = tokio::spawn(async move { lock.write().await });
    witness.until_waiting("key".into(), 1).await.unwrap();
    for pid in witness.sessions("pglock").await.unwrap() {
        witness.terminate(pid).await.unwrap();
    }
    soon("the loss is reported", guard.lost()).await;
    drop(soon("the lock is free", wait).await.unwrap().unwrap());
    soon("a new session", a.rwlock("key").write()).await.unwrap().release().await.unwrap();
    a.close().await.unwrap();
    b.close().await.unwrap();
}

async fn assert_refused(what: &str, driver: impl Driver) {
    let lock = Locks::new(driver).rwlock("key");
    let error = soon("the refusal", lock.write()).await.unwrap_err();
    println!("wrong {what}: {}", shown(&error));
    assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    assert!(!shown(&error).contains(PASSWORD));
}

fn assert_only_tls(proxy: &Proxy) {
    let connections = proxy.connections();
    // Two at first, one that waits, one after the loss, and two that the client refused.
    assert!(connections.len() >= 6, "{connections:?}");
    for connection in &connections {
        assert_eq!(connection.sent(Direction::ToServer).get(&Frame::SslRequest), Some(&1));
    }
    for direction in Direction::BOTH {
        let sent = proxy.sent(direction);
        println!("{} connections, {direction:?}: {sent:?}", connections.len());
        let is_encrypted = |frame: &Frame| match frame {
            Frame::TlsRecord(_) => true,
            Frame::SslRequest => direction == Direction::ToServer,
            Frame::Answer(answer) => *answer == 'S',
            _ => false,
        };
        assert!(sent.keys().all(is_encrypted), "{direction:?}: {sent:?}");
        assert!(sent[&Frame::TlsRecord(23)] > 10, "{direction:?}: {sent:?}");
    }
}

/// Makes a private server accept only TCP connections with TLS, with a certificate for 127.0.0.1.
/// Returns the file of the certificate that signed it.
async fn require_tls(
    server: &TestServer,
    witness: &PostgresWitness,
    files: &Path,
) -> Result<PathBuf, FaultError> {
    let authority = make_authority(files, "authority")?;
    let row = witness.client().query_one("SHOW data_directory", &[]).await?;
    let data = PathBuf::from(row.get::<_, &str>(0));
    make_certificate(files, &data)?;
    let rules = "hostssl all all all trust\nlocal all all trust\n";
    fs::write(data.join("pg_hba.conf"), rules).map_err(failed)?;
    if let Err(error) = witness.client().batch_execute("ALTER SYSTEM SET ssl = on").await {
        return Err(FaultError::NotAllowed { why: format!("no TLS in this PostgreSQL: {error}") });
    }
    witness.client().batch_execute("SELECT pg_catalog.pg_reload_conf()").await?;
    // The postmaster rereads its files with a short delay.
    let deadline = Instant::now() + PATIENCE;
    while PostgresWitness::connect(server.url()).await.is_ok() {
        assert!(Instant::now() < deadline, "the server still accepts connections without TLS");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(authority)
}

const OPENSSL: &str = "\
[req]
distinguished_name = name
prompt = no
x509_extensions = authority
[name]
CN = pglock
[authority]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
";

/// Makes a certificate that can sign others.
fn make_authority(files: &Path, name: &str) -> Result<PathBuf, FaultError> {
    fs::write(files.join("openssl.cnf"), OPENSSL).map_err(failed)?;
    let make = "req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(files, &format!("{make} -keyout {name}.key -out {name}.crt"))?;
    Ok(files.join(format!("{name}.crt")))
}

/// Puts a signed certificate and its key into the server's data folder.
fn make_certificate(files: &Path, data: &Path) -> Result<(), FaultError> {
    let make = "req -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(files, &format!("{make} -keyout server.key -out server.csr"))?;
    let sign = "x509 -req -CA authority.crt -CAkey authority.key -CAcreateserial -days 2";
    let extensions = "-extfile openssl.cnf -extensions server";
    openssl(files, &format!("{sign} {extensions} -in server.csr -out server.crt"))?;
    let account = fs::metadata(data).map_err(failed)?;
    for name in ["server.crt", "server.key"] {
        let path = data.join(name);
        fs::copy(files.join(name), &path)
            .and_then(|_| chown(&path, Some(account.uid()), Some(account.gid())))
            // The server refuses a key that others can read.
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)))
            .map_err(failed)?;
    }
    Ok(())
}

fn openssl(folder: &Path, arguments: &str) -> Result<(), FaultError> {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().map_err(
            |error| FaultError::Missing {
                what: format!("cannot run openssl: {error}: apt-get install openssl"),
            },
        )?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(FaultError::Failed { what: format!("openssl {arguments}"), output })
}

fn failed(source: io::Error) -> FaultError {
    FaultError::Io { what: "cannot write a certificate".to_owned(), source }
}
