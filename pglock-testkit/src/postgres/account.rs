//! Finds another account to run PostgreSQL as, because it refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::TestServerError;

/// The account that the server runs as, if it is not the caller's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` unless the caller is root.
    pub(super) fn for_server(caller: u32) -> Result<Option<Self>, TestServerError> {
        if caller != 0 {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd")
            .map_err(|source| TestServerError::io("cannot read /etc/passwd", source))?;
        ["postgres", "_postgres", "nobody"]
            .iter()
            .find_map(|name| Self::parse(&passwd, name))
            .map(Some)
            .ok_or(TestServerError::NoAccount)
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (uid, gid) = match (fields.next(), fields.next(), fields.next(), fields.next()) {
                (Some(found), _, Some(uid), Some(gid)) if found == name => (uid, gid),
                _ => return None,
            };
            let account = Self { uid: parse_id(uid)?, gid: parse_id(gid)? };
            (account.uid != 0).then_some(account)
        })
    }

    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }

    pub(super) fn run(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// macOS writes the ids of `nobody` as -2.
fn parse_id(id: &str) -> Option<u32> {
    id.parse().ok().or_else(|| id.parse().ok().map(i32::cast_unsigned))
}

/// The caller's effective user id. The standard library does not have it, so this creates a file
/// and reads its owner.
pub(super) fn caller() -> io::Result<u32> {
    Ok(tempfile::tempfile()?.metadata()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n\
                          postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n\
                          broken\n";

    #[test]
    fn ids_come_from_passwd() {
        let account = Account::parse(PASSWD, "postgres").unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        let account = Account::parse(PASSWD, "nobody").unwrap();
        assert_eq!((account.uid, account.gid), (u32::MAX - 1, u32::MAX - 1));
    }

    #[test]
    fn root_and_strangers_are_no_accounts() {
        assert!(Account::parse(PASSWD, "root").is_none());
        assert!(Account::parse(PASSWD, "broken").is_none());
        assert!(Account::parse(PASSWD, "absent").is_none());
    }
}
