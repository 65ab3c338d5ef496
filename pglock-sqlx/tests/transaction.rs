//! The cases of locks in a transaction, with transactions of sqlx.

use pglock_core::driver::Transaction;
use pglock_sqlx::sqlx::pool::PoolConnection;
use pglock_sqlx::sqlx::postgres::PgPoolOptions;
use pglock_sqlx::sqlx::{
    self, AssertSqlSafe, Executor, PgConnection, PgPool, PgTransaction, Postgres,
};
use pglock_sqlx::{LockInTransaction, SqlxDriver, TransactionLocks};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::transactions::{Client, ClientError};

pglock_testkit::transaction_cases!(Sqlx);

struct Sqlx {
    /// A pool of one connection.
    pool: PgPool,
    transaction: Option<PgTransaction<'static>>,
    /// The connection, if locks were asked for outside a transaction.
    idle: Option<PoolConnection<Postgres>>,
    depth: usize,
}

impl Sqlx {
    async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), ClientError> {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        Ok(())
    }
}

impl Client for Sqlx {
    type Driver = SqlxDriver;

    async fn connect(url: &str) -> Result<Self, ClientError> {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        Ok(Self { pool, transaction: None, idle: None, depth: 0 })
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        self.depth += 1;
        self.idle = None;
        match self.transaction {
            Some(_) => self.execute("SAVEPOINT nested").await?,
            None => self.transaction = Some(self.pool.begin().await?),
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), ClientError> {
        self.depth -= 1;
        match self.transaction.take_if(|_| self.depth == 0) {
            Some(transaction) => Ok(transaction.commit().await?),
            None => self.execute("RELEASE SAVEPOINT nested").await,
        }
    }

    async fn roll_back(&mut self) -> Result<(), ClientError> {
        self.depth -= 1;
        match self.transaction.take_if(|_| self.depth == 0) {
            Some(transaction) => Ok(transaction.rollback().await?),
            None => self.execute("ROLLBACK TO nested; RELEASE SAVEPOINT nested").await,
        }
    }

    async fn execute(&mut self, sql: &str) -> Result<(), ClientError> {
        self.idle = None;
        match &mut self.transaction {
            Some(transaction) => Self::run(transaction, sql).await,
            None => Self::run(&mut *self.pool.acquire().await?, sql).await,
        }
    }

    async fn value(&mut self, sql: &str) -> Result<String, ClientError> {
        self.idle = None;
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false);
        Ok(match &mut self.transaction {
            Some(transaction) => query.fetch_one(&mut **transaction).await?,
            None => query.fetch_one(&self.pool).await?,
        })
    }

    async fn locks(&mut self) -> TransactionLocks<impl Transaction> {
        match &mut self.transaction {
            Some(transaction) => transaction.locks(),
            None => {
                // The pool has no other one.
                self.idle = None;
                let idle = self.pool.acquire().await.expect("the connection");
                self.idle.insert(idle).locks()
            }
        }
    }
}

#[tokio::test]
async fn transaction_of_a_pool_locks() {
    let server = TestServer::shared().await.unwrap();
    let database = server.database().await.unwrap();
    let pool = PgPool::connect(database.url()).await.unwrap();
    let (mut a, mut b) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    a.locks().write("key").await.unwrap();
    assert!(!b.locks().try_read("key").await.unwrap());
    drop(a);
    b.locks().read("key").await.unwrap();
    b.commit().await.unwrap();
    pool.close().await;
}
