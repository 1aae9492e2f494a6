//! The limits that the kernel holds an editor to: those of its control group.

use oh_host::process::Pid;
use serde::Serialize;

/// Where control groups are; cgroups(7), version 2.
const GROUPS: &str = "/sys/fs/cgroup";

/// The limits of one control group; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Limits {
    pub(super) memory_bytes: Option<u64>,
    /// Of one processor.
    pub(super) cpu_percent: Option<u64>,
    pub(super) tasks: Option<u64>,
}

/// Reads the limits that a process is under by its own group; `None` where that cannot be told.
pub(super) fn of(pid: Pid) -> Option<Limits> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let group = group_of(&groups)?;
    let read = |name: &str| std::fs::read_to_string(format!("{GROUPS}{group}/{name}")).ok();
    let tasks = read("pids.max");
    // A controller that is off has no file, and sets no limit; where there is none at all, this is
    // no folder of a group.
    let memory = read("memory.max");
    let cpu = read("cpu.max");
    if tasks.is_none() && memory.is_none() && cpu.is_none() {
        return None;
    }
    Some(Limits {
        memory_bytes: memory.and_then(|text| text.trim().parse().ok()),
        cpu_percent: cpu.and_then(|text| percent_of(&text)),
        tasks: tasks.and_then(|text| text.trim().parse().ok()),
    })
}

/// Finds the group of version 2 in `/proc/PID/cgroup`.
fn group_of(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| path.starts_with('/'))
}

/// Reads `cpu.max`: microseconds of processor time in a period of so many.
fn percent_of(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next()?.parse().ok()?;
    quota.checked_mul(100)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let groups = "12:pids:/old\n0::/system.slice/openhands-editor-a.service\n";
        assert_eq!(group_of(groups), Some("/system.slice/openhands-editor-a.service"));
        assert_eq!(group_of("12:pids:/old\n"), None);
        assert_eq!(percent_of("150000 100000\n"), Some(150));
        assert_eq!(percent_of("max 100000\n"), None);
        assert_eq!(percent_of("1 0"), None);
    }
}
