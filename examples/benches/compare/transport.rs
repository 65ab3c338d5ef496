//! The ways to the server.

use pglock_testkit::postgres::TestServer;

use crate::Result;
use crate::workload::Workload;

pub(crate) struct Transport {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    carries: fn(Workload) -> bool,
}

impl Transport {
    pub(crate) fn all(server: &TestServer) -> Result<Vec<Self>> {
        let socket = server.socket_url().ok_or("the server has no Unix socket")?;
        Ok(vec![
            Self { name: "tcp", url: server.url().to_owned(), carries: |_| true },
            Self { name: "unix", url: socket, carries: |_| true },
        ])
    }

    pub(crate) fn carries(&self, workload: Workload) -> bool {
        (self.carries)(workload)
    }
}
