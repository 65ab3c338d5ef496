//! The report on all repetitions.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use pglock_examples::in_one_line;
use serde::Serialize;

use crate::Result;
use crate::outcome::{Latencies, Outcome};
use crate::workload::Workload;

/// Workload, transport, subject.
type Place = (Workload, &'static str, &'static str);

/// A line of the table. The first ten fields are always present, and null for a subject that
/// failed.
#[derive(Clone, Serialize)]
pub(crate) struct Row {
    #[serde(serialize_with = "name_of")]
    pub(crate) workload: Workload,
    pub(crate) subject: &'static str,
    pub(crate) transport: &'static str,
    /// Median of the repetitions.
    pub(crate) ops_per_s: Option<f64>,
    /// Over the operations of all repetitions: from the call of acquire to the end of the release.
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    /// The highest number seen.
    pub(crate) server_connections: Option<u64>,
    /// Of the median repetition.
    pub(crate) min_task_ops: Option<u64>,
    pub(crate) max_task_ops: Option<u64>,
    /// Operations per second; the median of the ratios of neighbours.
    pub(crate) ratio_to_floor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_connection_per_lock: Option<f64>,
    /// The difference between the slowest and the fastest repetition, as a fraction of the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_us: Option<f64>,
    pub(crate) repetitions: usize,
    #[serde(flatten)]
    pub(crate) figures: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Row {
    fn empty((workload, transport, subject): Place) -> Self {
        Self {
            workload,
            subject,
            transport,
            ops_per_s: None,
            p50_us: None,
            p99_us: None,
            server_connections: None,
            min_task_ops: None,
            max_task_ops: None,
            ratio_to_floor: None,
            ratio_to_connection_per_lock: None,
            spread: None,
            max_us: None,
            repetitions: 0,
            figures: BTreeMap::new(),
            limit: None,
            error: None,
        }
    }

    /// Sets the results of the repetitions; there is at least one.
    fn fill(&mut self, mut outcomes: Vec<&Outcome>) {
        outcomes.sort_by(|a, b| a.ops_per_s().total_cmp(&b.ops_per_s()));
        let (slowest, median, fastest) =
            (outcomes[0], outcomes[outcomes.len() / 2], outcomes[outcomes.len() - 1]);
        self.ops_per_s = Some(median.ops_per_s());
        self.spread = Some((fastest.ops_per_s() - slowest.ops_per_s()) / median.ops_per_s());
        self.min_task_ops = median.task_ops.iter().min().copied();
        self.max_task_ops = median.task_ops.iter().max().copied();
        self.server_connections = outcomes.iter().map(|outcome| outcome.connections).max();
        let latencies = merged(outcomes.iter().map(|outcome| &outcome.latencies));
        if latencies.len() > 0 {
            self.p50_us = Some(latencies.quantile_us(0.5));
            self.p99_us = Some(latencies.quantile_us(0.99));
            self.max_us = Some(latencies.max_us());
        }
        for name in median.figures.keys() {
            let values = outcomes.iter().filter_map(|outcome| outcome.figures.get(name).copied());
            self.figures.insert(name.clone(), middle(values.collect()));
        }
        let other_writer =
            merged(outcomes.iter().filter_map(|outcome| outcome.other_writer.as_ref()));
        if other_writer.len() > 0 {
            for (name, value) in [
                ("other_writer_p50_us", other_writer.quantile_us(0.5)),
                ("other_writer_p99_us", other_writer.quantile_us(0.99)),
                ("other_writer_ops", other_writer.len() as f64),
            ] {
                self.figures.insert(name.to_owned(), value);
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Report {
    slices: Vec<(Place, Result<Outcome, String>)>,
}

impl Report {
    pub(crate) fn add(&mut self, place: Place, outcome: Result<Outcome>) {
        self.slices.push((place, outcome.map_err(|error| in_one_line(&*error))));
    }

    pub(crate) fn has_failed(&self, place: Place) -> bool {
        self.of(place).any(Result::is_err)
    }

    pub(crate) fn all_rows(&self) -> Vec<Row> {
        let mut places: Vec<Place> = Vec::new();
        for (place, _) in &self.slices {
            if !places.contains(place) {
                places.push(*place);
            }
        }
        places.into_iter().map(|place| self.row(place)).collect()
    }

    pub(crate) fn rows(&self, workload: Workload, transport: &str) -> Vec<Row> {
        let mut rows = self.all_rows();
        rows.retain(|row| row.workload == workload && row.transport == transport);
        rows
    }

    fn of(&self, place: Place) -> impl Iterator<Item = &Result<Outcome, String>> {
        self.slices.iter().filter(move |slice| slice.0 == place).map(|slice| &slice.1)
    }

    fn row(&self, place: Place) -> Row {
        let outcomes: Vec<&Outcome> =
            self.of(place).filter_map(|slice| slice.as_ref().ok()).collect();
        let mut row = Row {
            repetitions: outcomes.len(),
            limit: outcomes.iter().find_map(|outcome| outcome.limit.clone()),
            error: self.of(place).find_map(|slice| slice.as_ref().err().cloned()),
            ..Row::empty(place)
        };
        // What a subject did before it failed is not a measure of it.
        if row.error.is_none() && !outcomes.is_empty() {
            row.ratio_to_floor = self.ratio(place, "floor");
            row.ratio_to_connection_per_lock = self.ratio(place, "connection-per-lock");
            row.fill(outcomes);
        }
        row
    }

    fn ratio(&self, place: Place, base: &'static str) -> Option<f64> {
        let base = self.of((place.0, place.1, base));
        let ratios: Vec<f64> = self
            .of(place)
            .zip(base)
            .filter_map(|pair| match pair {
                (Ok(mine), Ok(base)) => Some(mine.ops_per_s() / base.ops_per_s()),
                _ => None,
            })
            .collect();
        (!ratios.is_empty()).then(|| middle(ratios))
    }
}

/// Writes all rows to `bench/report.json` in the target folder.
pub(crate) fn write_json(rows: &[Row]) -> io::Result<()> {
    // Cargo creates this folder, below the target folder.
    let Some(target) = Path::new(env!("CARGO_TARGET_TMPDIR")).parent() else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    let folder = target.join("bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(rows)?)?;
    println!("every figure: {}", path.display());
    Ok(())
}

fn merged<'a>(all: impl Iterator<Item = &'a Latencies>) -> Latencies {
    all.fold(Latencies::new(), |mut sum, latencies| {
        sum.add(latencies);
        sum
    })
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn name_of<S: serde::Serializer>(workload: &Workload, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(workload.name())
}
