//! The files to download: PostgreSQL 18.4 for each system, with its checksum.

use std::env::consts::{ARCH, OS};

/// A file of one version for one system.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub(super) version: &'static str,
    /// The source's name for the system.
    pub(super) target: &'static str,
    pub(super) sha256: &'static str,
}

/// A system for which there are binaries.
#[derive(Debug)]
pub(super) struct Platform {
    os: &'static str,
    arch: &'static str,
    pub(super) releases: Pin,
    pub(super) npm: Pin,
    pub(super) pip: Pin,
}

impl Platform {
    /// `None` if there are no binaries for this system.
    pub(super) fn current() -> Option<&'static Self> {
        // All of them need the GNU libc.
        let gnu = OS != "linux" || cfg!(target_env = "gnu");
        ALL.iter().find(|platform| gnu && (platform.os, platform.arch) == (OS, ARCH))
    }
}

#[cfg(test)]
pub(super) const fn all() -> &'static [Platform] {
    &ALL
}

const fn releases(target: &'static str, sha256: &'static str) -> Pin {
    Pin { version: "18.4.0", target, sha256 }
}

/// `scripts/postgres-versions` uses the same version.
const fn npm(target: &'static str, sha256: &'static str) -> Pin {
    Pin { version: "18.4.0-beta.17", target, sha256 }
}

const fn pip(target: &'static str, sha256: &'static str) -> Pin {
    Pin { version: "0.6.0", target, sha256 }
}

static ALL: [Platform; 4] = [
    Platform {
        os: "linux",
        arch: "x86_64",
        releases: releases(
            "x86_64-unknown-linux-gnu",
            "65c06cf318b9a57525d842d658d6d18cd461d12b3a89b57d6d8ed7cccbe2db53",
        ),
        npm: npm("linux-x64", "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"),
        pip: pip(
            "manylinux_2_28_x86_64",
            "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9",
        ),
    },
    Platform {
        os: "linux",
        arch: "aarch64",
        releases: releases(
            "aarch64-unknown-linux-gnu",
            "569984d426365c6ca3c197d2b3a999b73161ff1f3abc963824a8c3624620e5dd",
        ),
        npm: npm("linux-arm64", "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea"),
        pip: pip(
            "manylinux_2_28_aarch64",
            "f02b1423ac75dd7e9b2448551e9d20e3a878e174f1904703ec454a5d85db51e2",
        ),
    },
    Platform {
        os: "macos",
        arch: "x86_64",
        releases: releases(
            "x86_64-apple-darwin",
            "cbc38067a795d10bbddc730e61c835df0b351c36a7bd2544d388790fcf50aa4d",
        ),
        npm: npm("darwin-x64", "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7"),
        pip: pip(
            "macosx_10_13_x86_64",
            "dfadcf5e55040635f35f7d97157e22e4ee046a7a9fe0d41fb66b6a2808e11419",
        ),
    },
    Platform {
        os: "macos",
        arch: "aarch64",
        releases: releases(
            "aarch64-apple-darwin",
            "1b68828f524b638a24918e258b173d0f16773547a0d3b83d9ba74473b61649f2",
        ),
        npm: npm(
            "darwin-arm64",
            "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
        ),
        pip: pip(
            "macosx_11_0_arm64",
            "78f8cfc12ad3b08567cf23565fe44cd69fa4f6cba9ed39852a439ae116b6cd49",
        ),
    },
];
