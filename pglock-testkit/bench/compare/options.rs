//! What to run: by default, everything.

use std::env;
use std::time::Duration;

use crate::Result;
use crate::subject::{self, Entry};
use crate::transport::Transport;
use crate::workload::Workload;

const USAGE: &str = "usage: cargo bench --bench compare -- [WORKLOAD …] [SUBJECT …] [--transport NAME] [--reps N] [--slice MILLISECONDS]\n\
                     a workload is named by its name or the begin of several names, such as w3_one_key or w3";

pub(crate) struct Options {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) subjects: Vec<Entry>,
    transport: Option<String>,
    repetitions: usize,
    pub(crate) slice: Duration,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self> {
        let mut args = env::args().skip(1);
        let (mut workloads, mut subjects) = (Vec::new(), Vec::new());
        let mut transport = None;
        let (mut repetitions, mut slice) = (5, 400);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(USAGE);
            match arg.as_str() {
                // Passed by cargo.
                "--bench" => {}
                "--transport" => transport = Some(value()?),
                "--reps" => repetitions = value()?.parse()?,
                "--slice" => slice = value()?.parse()?,
                name if subject::find(name).is_ok() => subjects.push(name.to_owned()),
                name => {
                    let named = Workload::named(name);
                    if named.is_empty() {
                        return Err(USAGE.into());
                    }
                    workloads.extend(named);
                }
            }
        }
        let mut options = Self {
            workloads: Workload::ALL.to_vec(),
            subjects: subject::all(),
            transport,
            repetitions,
            slice: Duration::from_millis(slice),
        };
        options.workloads.retain(|workload| workloads.is_empty() || workloads.contains(workload));
        options.subjects.retain(|subject| {
            subjects.is_empty() || subjects.iter().any(|name| name == subject.name)
        });
        Ok(options)
    }

    pub(crate) fn uses(&self, transport: &Transport, workload: Workload) -> bool {
        transport.carries(workload)
            && self.transport.as_ref().is_none_or(|wanted| wanted == transport.name)
    }

    pub(crate) fn repetitions(&self, workload: Workload) -> usize {
        self.repetitions.min(workload.most_repetitions())
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.workloads.len() == Workload::ALL.len()
            && self.subjects.len() == subject::all().len()
            && self.transport.is_none()
    }
}
