//! The workloads.

use std::time::Duration;

use pglock_bench::cpus::Placement;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Workload {
    Uncontended,
    UncontendedDrop,
    OwnKeys,
    OwnKeysDrop,
    OneKey,
    OneKeyDrop,
    OneKeyMillisecond,
    Processes,
    ProcessesDrop,
    ReadMostly,
    ReadMostlyDrop,
    ReadMostlyShared,
    Hold,
    HoldNone,
    HoldHundred,
    HoldThousand,
    WaitersThousand,
    WaitersTenThousand,
}

impl Workload {
    pub(crate) const ALL: [Self; 18] = [
        Self::Uncontended,
        Self::UncontendedDrop,
        Self::OwnKeys,
        Self::OwnKeysDrop,
        Self::OneKey,
        Self::OneKeyDrop,
        Self::OneKeyMillisecond,
        Self::Processes,
        Self::ProcessesDrop,
        Self::ReadMostly,
        Self::ReadMostlyDrop,
        Self::ReadMostlyShared,
        Self::Hold,
        Self::HoldNone,
        Self::HoldHundred,
        Self::HoldThousand,
        Self::WaitersThousand,
        Self::WaitersTenThousand,
    ];

    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uncontended => "w1_uncontended",
            Self::UncontendedDrop => "w1_uncontended/drop",
            Self::OwnKeys => "w2_own_keys",
            Self::OwnKeysDrop => "w2_own_keys/drop",
            Self::OneKey => "w3_one_key",
            Self::OneKeyDrop => "w3_one_key/drop",
            Self::OneKeyMillisecond => "w3_one_key/1ms",
            Self::Processes => "w3_processes",
            Self::ProcessesDrop => "w3_processes/drop",
            Self::ReadMostly => "w4_read_mostly",
            Self::ReadMostlyDrop => "w4_read_mostly/drop",
            Self::ReadMostlyShared => "w4_read_mostly/shared",
            Self::Hold => "w5_hold",
            Self::HoldNone => "w5_hold/0",
            Self::HoldHundred => "w5_hold/100",
            Self::HoldThousand => "w5_hold/1000",
            Self::WaitersThousand => "w6_waiters/1000",
            Self::WaitersTenThousand => "w6_waiters/10000",
        }
    }

    /// The workload of this name, or else all whose names begin with it.
    pub(crate) fn named(name: &str) -> Vec<Self> {
        let all = || Self::ALL.into_iter();
        match all().find(|workload| workload.name() == name) {
            Some(workload) => vec![workload],
            None => all().filter(|workload| workload.name().starts_with(name)).collect(),
        }
    }

    /// A description for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Uncontended => "one task, release confirmed",
            Self::UncontendedDrop => "one task, release by drop",
            Self::OwnKeys => "64 tasks, own keys, release confirmed",
            Self::OwnKeysDrop => "64 tasks, own keys, release by drop",
            Self::OneKey => "64 tasks, one key",
            Self::OneKeyDrop => "64 tasks, one key, release by drop",
            Self::OneKeyMillisecond => "64 tasks, one key, held for 1 ms",
            Self::Processes => "4 processes of 16 tasks, one key",
            Self::ProcessesDrop => "4 processes of 16 tasks, one key, release by drop",
            Self::ReadMostly => "64 tasks, one key, 95 % reads",
            Self::ReadMostlyDrop => "64 tasks, one key, 95 % reads, release by drop",
            Self::ReadMostlyShared => "64 tasks, one key, 95 % reads, shared, by drop",
            Self::Hold => "keys held at once",
            Self::HoldNone => "one task, no other key held",
            Self::HoldHundred => "one task, 100 keys held",
            Self::HoldThousand => "one task, 1 000 keys held",
            Self::WaitersThousand => "1 000 tasks wait for one key",
            Self::WaitersTenThousand => "10 000 tasks wait for one key",
        }
    }

    /// Whether guards are dropped, instead of released with confirmation.
    pub(crate) fn releases_by_drop(self) -> bool {
        matches!(
            self,
            Self::UncontendedDrop
                | Self::OwnKeysDrop
                | Self::OneKeyDrop
                | Self::ProcessesDrop
                | Self::ReadMostlyDrop
                | Self::ReadMostlyShared
        )
    }

    /// Where client and server run. One task and its server session take turns, so otherwise the
    /// scheduler's choice of CPUs would decide the figures.
    pub(crate) fn placement(self) -> Placement {
        match self {
            Self::Uncontended
            | Self::UncontendedDrop
            | Self::HoldNone
            | Self::HoldHundred
            | Self::HoldThousand => Placement::CpuEach,
            _ => Placement::Anywhere,
        }
    }

    /// Whether it also runs over a slow line.
    pub(crate) fn depends_on_round_trips(self) -> bool {
        matches!(
            self,
            Self::Uncontended
                | Self::UncontendedDrop
                | Self::OwnKeys
                | Self::OwnKeysDrop
                | Self::OneKey
                | Self::OneKeyDrop
                | Self::OneKeyMillisecond
        )
    }

    /// The number of repetitions; long workloads have few.
    pub(crate) fn most_repetitions(self) -> usize {
        match self {
            Self::Hold => 1,
            Self::Processes | Self::ProcessesDrop => 2,
            Self::WaitersThousand | Self::WaitersTenThousand => 3,
            _ => usize::MAX,
        }
    }
}

/// One run of one workload by one subject.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) workload: Workload,
    pub(crate) subject: String,
    /// How the subject reaches the server.
    pub(crate) url: String,
    /// How the benchmark itself reaches the server.
    pub(crate) server: String,
    pub(crate) length: Duration,
}
