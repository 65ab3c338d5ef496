//! Connections over TLS.
#![cfg(unix)]

use pglock_sqlx::SqlxDriver;
use pglock_testkit::encrypted::assert_encrypted;

#[tokio::test]
async fn every_connection_is_made_with_the_same_tls_options() {
    assert_encrypted("every_connection_is_made_with_the_same_tls_options", |url, authority| {
        let options = format!("sslmode=verify-full&sslrootcert={}", authority.display());
        SqlxDriver::from_url(&format!("{url}?{options}")).unwrap()
    })
    .await;
}
