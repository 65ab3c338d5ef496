//! pglock next to the other ways to take an advisory lock.
//!
//! ```text
//! cargo bench --bench compare
//! cargo bench --bench compare -- w1 w3 pglock-sqlx --reps 3 --slice 200 --transport tcp
//! ```
//!
//! It starts a PostgreSQL of its own. Every subject runs every workload for a slice of time, one
//! subject after another, and then again, so that all subjects suffer equally if the machine's
//! speed drifts. Where one task takes turns with the server, each has a CPU of its own. Each slice
//! starts with new connections, which are opened before its time begins. While it runs, the
//! benchmark checks that holders really exclude each other. All subjects use their waiting acquire,
//! and wait for the server to confirm the release, except where the workload is called `drop`.
//!
//! It prints the table, and writes every figure to `target/bench/report.json`. A run of everything
//! also draws `docs/bench.svg`.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

mod bare;
mod chart;
mod check;
mod child;
mod load;
mod machine;
mod options;
mod outcome;
mod report;
mod subject;
mod subjects;
mod table;
mod transport;
mod workload;
mod workloads;

use pglock_bench::cpus::Cpus;
use pglock_examples::in_one_line;
use pglock_testkit::postgres::TestServer;

use self::bare::Observer;
use self::machine::Machine;
use self::options::Options;
use self::report::Report;
use self::transport::Transport;
use self::workload::Slice;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let run = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match child::Task::from_args()? {
            Some(task) => runtime.block_on(task.run()),
            None => runtime.block_on(compare(&Options::from_args()?)),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn compare(options: &Options) -> Result<()> {
    let begin = Instant::now();
    let cpus = Cpus::of_this_process()?;
    let server = TestServer::private().await?;
    let observer = Observer::connect(server.url()).await?;
    let machine = Machine::describe(&observer).await?;
    println!("{machine}");
    let transports = Transport::all(&server)?;
    let mut report = Report::default();
    for &workload in &options.workloads {
        let placement = cpus.place(workload.placement(), &server)?;
        if placement != workload.placement() {
            println!("{}: {placement}", workload.name());
        }
        for transport in transports.iter().filter(|way| options.uses(way, workload)) {
            for repetition in 0..options.repetitions(workload) {
                for subject in &options.subjects {
                    let place = (workload, transport.name, subject.name);
                    if report.has_failed(place) {
                        continue;
                    }
                    eprintln!(
                        "{:4.0} s  {} {} {} #{}",
                        begin.elapsed().as_secs_f64(),
                        workload.name(),
                        transport.name,
                        subject.name,
                        repetition + 1
                    );
                    let slice = Slice {
                        workload,
                        subject: subject.name.to_owned(),
                        url: transport.url.clone(),
                        server: server.url().to_owned(),
                        length: options.slice,
                    };
                    report.add(place, subject.run(slice).await);
                    observer.until_alone().await?;
                }
            }
            print!("{}", table::of(&report.rows(workload, transport.name)));
        }
    }
    let rows = report.all_rows();
    report::write_json(&rows).map_err(at("cannot write the report"))?;
    if options.is_complete() {
        chart::write(&rows, &machine).map_err(at("cannot write the chart"))?;
    } else {
        println!("not a run of everything: the chart stays as it is");
    }
    println!("done in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn at(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
