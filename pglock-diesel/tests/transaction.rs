//! The cases of locks in a transaction, with transactions of diesel-async.

use pglock_core::driver::Transaction;
use pglock_diesel::diesel::sql_types::Text;
use pglock_diesel::diesel::{QueryableByName, sql_query};
use pglock_diesel::diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    TransactionManager,
};
use pglock_diesel::{DieselDriver, LockInTransaction, TransactionLocks};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::transactions::{Client, ClientError};

pglock_testkit::transaction_cases!(Diesel);

struct Diesel(AsyncPgConnection);

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Text)]
    value: String,
}

impl Client for Diesel {
    type Driver = DieselDriver;

    async fn connect(url: &str) -> Result<Self, ClientError> {
        Ok(Self(AsyncPgConnection::establish(url).await?))
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        Ok(AnsiTransactionManager::begin_transaction(&mut self.0).await?)
    }

    async fn commit(&mut self) -> Result<(), ClientError> {
        Ok(AnsiTransactionManager::commit_transaction(&mut self.0).await?)
    }

    async fn roll_back(&mut self) -> Result<(), ClientError> {
        Ok(AnsiTransactionManager::rollback_transaction(&mut self.0).await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), ClientError> {
        Ok(self.0.batch_execute(sql).await?)
    }

    async fn value(&mut self, sql: &str) -> Result<String, ClientError> {
        let query = sql_query(format!("SELECT q.value FROM ({sql}) AS q(value)"));
        Ok(query.get_result::<Value>(&mut self.0).await?.value)
    }

    async fn locks(&mut self) -> TransactionLocks<impl Transaction> {
        self.0.locks()
    }
}

#[derive(Debug)]
struct Failed(#[allow(dead_code, reason = "shown when the test fails")] ClientError);

impl<E: Into<ClientError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[tokio::test]
async fn transaction_closure_locks() {
    let server = TestServer::shared().await.unwrap();
    let database = server.database().await.unwrap();
    let mut a = AsyncPgConnection::establish(database.url()).await.unwrap();
    let mut b = AsyncPgConnection::establish(database.url()).await.unwrap();
    a.transaction(async |a| {
        a.locks().write("key").await?;
        b.transaction(async |b| {
            assert!(!b.locks().try_read("key").await?);
            Ok::<_, Failed>(())
        })
        .await
    })
    .await
    .unwrap();
}
