//! Processor time and memory of processes on this host, as `/proc` tells.

use std::{fs, path::Path};

/// Ticks in a second in which the kernel counts processor time towards programs: 100 on every architecture that
/// Linux counts as alive but one.
const TICKS: f64 = 100.0;

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stat {
    pub(super) parent: u32,
    /// Seconds of processor time, in the kernel and outside.
    pub(super) own: f64,
    /// The same of its children that have ended and been waited for.
    pub(super) ended_children: f64,
}

impl Stat {
    /// Of a process; `None` if there is none here.
    pub(super) fn of(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses, and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: (ticks(11)? + ticks(12)?) / TICKS,
            ended_children: (ticks(13)? + ticks(14)?) / TICKS,
        })
    }
}

/// The most memory that a process has ever had resident, in bytes.
pub(super) fn peak_memory(process: u32) -> Option<u64> {
    in_bytes(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "VmHWM:")
}

/// The memory that a process has resident now, in bytes.
pub(super) fn memory(process: u32) -> Option<u64> {
    in_bytes(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "VmRSS:")
}

fn in_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A server whose processor time can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// A process, and all its children.
    Family(u32),
    /// A process.
    Single(u32),
}

impl Server {
    /// PostgreSQL's first process, which has started the one that serves us; if that one is here, and serves this
    /// database.
    pub(super) fn postgres(backend: u32, database: &str) -> Option<Self> {
        let title = fs::read_to_string(format!("/proc/{backend}/cmdline")).ok()?;
        if !title.contains(database) {
            return None; // another host's number
        }
        Stat::of(backend).map(|stat| Self::Family(stat.parent))
    }

    /// Redis, if it is here.
    pub(super) fn redis(process: u32) -> Option<Self> {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
        ["redis", "valkey", "keydb"].iter().any(|known| name.contains(known)).then_some(Self::Single(process))
    }

    /// Seconds of processor time so far.
    pub(super) fn seconds(self) -> Option<f64> {
        match self {
            Self::Single(process) => Stat::of(process).map(|stat| stat.own),
            Self::Family(parent) => {
                let first = Stat::of(parent)?;
                let children = processes().filter_map(Stat::of).filter(|stat| stat.parent == parent);
                Some(first.own + first.ended_children + children.map(|stat| stat.own).sum::<f64>())
            }
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let text = "4711 (a) b (c) S 42 4711 4711 0 -1 4194560 100 200 0 0 150 50 25 75 20 0 1 0 1000 1 1";
        let stat = Stat::parse(text);
        assert_eq!(stat, Some(Stat { parent: 42, own: 2.0, ended_children: 1.0 }));
        assert_eq!(Stat::parse("4711 (short) S 42"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(in_bytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(in_bytes(status, "VmRSS:"), Some(1 << 10));
        assert_eq!(in_bytes("Name: zombie\n", "VmHWM:"), None);
        assert!(peak_memory(std::process::id()).unwrap() > 1 << 20);
        assert!(memory(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(peak_memory(u32::MAX), None);
    }

    #[test]
    fn a_family_is_a_process_and_its_children() {
        let me = std::process::id();
        let parent = Stat::of(me).unwrap().parent;
        let mine = Server::Single(me).seconds().unwrap();
        assert!(Server::Family(parent).seconds().unwrap() >= mine);
        assert!(Server::redis(me).is_none());
        assert!(Server::postgres(me, "no such database").is_none());
    }
}
