//! How much memory the broker may account for.

use std::fs;
use std::path::Path;

/// The mark of the broker-wide memory account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Memory {
    /// 40 % of what the control group, or else the machine, allows.
    #[default]
    Auto,
    /// That many octets.
    Bytes(usize),
}

impl Memory {
    /// The mark where neither a control group nor the machine tells its limit, octets.
    pub const UNKNOWN: usize = 512 << 20;

    /// The mark in octets. `Auto` reads files of this machine, so ask once, at the start.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bytes(octets) => octets,
            Self::Auto => share(limit_below(Path::new("/"))),
        }
    }
}

fn share(limit: Option<u64>) -> usize {
    limit.map_or(Memory::UNKNOWN, |limit| usize::try_from(limit / 10 * 4).unwrap_or(usize::MAX))
}

/// The least of the machine's memory and the limits of the control groups around this process.
fn limit_below(root: &Path) -> Option<u64> {
    let total = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group_limit(root, line));
    limits.chain(total).min()
}

/// A line is `0::/path` (version 2) or `4:cpu,memory:/path` (version 1). A parent's limit holds
/// for its children, so each directory up to the root is asked; "max" is no number and no limit.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = Path::new(group.trim_start_matches('/'));
    let read = |dir: &Path| {
        fs::read_to_string(root.join(mount).join(dir).join(file)).ok()?.trim().parse().ok()
    };
    group.ancestors().filter_map(read).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\n");

    #[test]
    fn the_least_limit_around_the_process_holds() {
        let plain = machine(&[MEMINFO]);
        assert_eq!(limit_below(plain.path()), Some(1_024_000));
        let v2 = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "5000\n"),
        ]);
        assert_eq!(limit_below(v2.path()), Some(5000));
        let v1 = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "5:cpu:/a\n4:hugetlb,memory:/a\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "7000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(limit_below(v1.path()), Some(7000));
    }

    #[test]
    fn auto_is_two_fifths_and_a_silent_machine_gets_a_fixed_mark() {
        let nothing = machine(&[]);
        assert_eq!(share(limit_below(nothing.path())), Memory::UNKNOWN);
        assert_eq!(share(Some(1000)), 400);
        assert_eq!(Memory::Bytes(7).bytes(), 7);
    }
}
