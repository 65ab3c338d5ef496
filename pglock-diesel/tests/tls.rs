//! Connections over TLS, which a function makes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use pglock_diesel::DieselDriver;
use pglock_diesel::diesel_async::AsyncPgConnection;
use pglock_testkit::encrypted::assert_encrypted;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

#[tokio::test]
async fn every_connection_is_made_with_the_same_tls_options() {
    assert_encrypted("every_connection_is_made_with_the_same_tls_options", |url, authority| {
        let mut config: Config = url.parse().unwrap();
        config.ssl_mode(SslMode::Require);
        let tls = MakeRustlsConnect::new(trusting(authority));
        DieselDriver::from_fn(move || connect(config.clone(), tls.clone()))
    })
    .await;
}

async fn connect(
    config: Config,
    tls: MakeRustlsConnect,
) -> Result<AsyncPgConnection, Box<dyn Error + Send + Sync>> {
    let (client, connection) = config.connect(tls).await?;
    Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
}

fn trusting(authority: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
