//! The ways to the server.

use std::time::Duration;

use pglock_testkit::faults::{Direction, Proxy};
use pglock_testkit::postgres::TestServer;

use crate::Result;
use crate::workload::Workload;

pub(crate) struct Transport {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    carries: fn(Workload) -> bool,
    _proxy: Option<Proxy>,
}

impl Transport {
    pub(crate) fn all(server: &TestServer) -> Result<Vec<Self>> {
        let socket = server.socket_url().ok_or("the server has no Unix socket")?;
        let proxy = Proxy::start(server.url())?;
        for direction in Direction::BOTH {
            proxy.set_delay(direction, Duration::from_millis(1));
        }
        let direct =
            |name, url: &str| Self { name, url: url.to_owned(), carries: |_| true, _proxy: None };
        Ok(vec![
            direct("tcp", server.url()),
            direct("unix", &socket),
            Self {
                name: "tcp+1ms",
                url: proxy.url().to_owned(),
                carries: Workload::depends_on_round_trips,
                _proxy: Some(proxy),
            },
        ])
    }

    pub(crate) fn carries(&self, workload: Workload) -> bool {
        (self.carries)(workload)
    }
}
