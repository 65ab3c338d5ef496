//! Keys from names, as the server derives them.

use pglock_core::{LockKey, NamedKey};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::PostgresWitness;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

#[tokio::test]
async fn server_derives_the_same_keys() {
    let server = TestServer::shared().await.unwrap();
    let witness = PostgresWitness::connect(server.url()).await.unwrap();
    let long = "long".repeat(1 << 18);
    let names = ["", "orders", "🔒 ключ", "caf\u{e9}", "cafe\u{301}", " orders", &long];
    for namespace in ["", "billing", "ключ🔒", &long] {
        for name in names {
            let params: [&(dyn ToSql + Sync); 2] = [&namespace, &name];
            let row = witness.client().query_one(LockKey::DERIVATION_SQL, &params).await.unwrap();
            let key: i64 = row.get(0);
            let ours = NamedKey::in_namespace(namespace, name).key();
            assert_eq!(ours, LockKey::from(key));
            if namespace.is_empty() {
                assert_eq!(ours, LockKey::from(name));
            }
        }
    }
}

#[tokio::test]
async fn server_derives_the_same_key_of_a_uuid() {
    let server = TestServer::shared().await.unwrap();
    let witness = PostgresWitness::connect(server.url()).await.unwrap();
    let id = "67E55044-10B1-426F-9247-BB680E5FE0C8";
    let sql = LockKey::DERIVATION_SQL.replace("$2", "$2::pg_catalog.text::pg_catalog.uuid::text");
    let params: [&(dyn ToSql + Sync); 2] = [&"", &id];
    let key: i64 = witness.client().query_one(&sql, &params).await.unwrap().get(0);
    assert_eq!(LockKey::from(id.parse::<Uuid>().unwrap()), LockKey::from(key));
}
