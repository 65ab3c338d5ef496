use pglock_sqlx::Locks;
use pglock_testkit::postgres::TestServer;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smoke() {
    let server = TestServer::shared().await.unwrap();
    let db = server.database().await.unwrap();
    let a = Locks::from_url(db.url()).unwrap();
    let b = Locks::from_url(db.url()).unwrap();
    let la = a.rwlock("x");
    let lb = b.rwlock("x");
    let g = la.try_write().await.unwrap().unwrap();
    eprintln!("{g:?} {:?}", a.stats());
    assert!(lb.try_write().await.unwrap().is_none());
    assert!(lb.try_read().await.unwrap().is_none());
    let t = tokio::spawn({
        let lb = lb.clone();
        async move { lb.write().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    eprintln!("{:?}", b.stats());
    g.release().await.unwrap();
    let gb = t.await.unwrap().unwrap();
    let e = la
        .try_write_for(Duration::from_millis(100))
        .await
        .unwrap_err();
    eprintln!("{e} {e:?}");
    gb.release().await.unwrap();
    let t0 = Instant::now();
    for _ in 0..2000 {
        la.try_write()
            .await
            .unwrap()
            .unwrap()
            .release()
            .await
            .unwrap();
    }
    eprintln!("{:?} per acquire+release", t0.elapsed() / 2000);
    let t0 = Instant::now();
    for _ in 0..2000 {
        la.write().await.unwrap();
    }
    eprintln!("{:?} per acquire+drop", t0.elapsed() / 2000);
    a.close().await.unwrap();
    b.close().await.unwrap();
    eprintln!("{:?}", a.stats());
}
