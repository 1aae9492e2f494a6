//! The services of systemd that processes are of, by the control groups that the kernel tells.
//!
//! A scope holds what others started and that systemd never starts again; a service does not. Whoever
//! has a part of the tree of groups to themselves names groups in it as they like: what such a name
//! says is of their own processes alone.

use alloc::borrow::ToOwned as _;
use alloc::string::String;

/// The hierarchies in which systemd keeps its units: the one of cgroups(7) version 2, and its own
/// beside those of version 1.
const HIERARCHIES: [&str; 2] = ["", "name=systemd"];

/// How the service is called that is a user's own systemd, before the user's number.
const MANAGER: &str = "user@";

/// How the names of services and of scopes end.
const SERVICE: &str = ".service";
const SCOPE: &str = ".scope";

/// A service of systemd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Its name, with its ending.
    pub name: String,
    /// Whether it is one of a user's own systemd.
    pub is_users: bool,
}

impl Service {
    /// Reads `/proc/PID/cgroup`; `None` where no service holds the process.
    pub fn of_control_groups(text: &str) -> Option<Self> {
        let paths = text.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            HIERARCHIES.contains(&controllers).then_some(path)
        });
        paths.filter_map(Self::of_path).next()
    }

    /// The unit is the deepest group that is called as one: below it are groups of its own.
    fn of_path(path: &str) -> Option<Self> {
        let is_unit = |name: &&str| name.ends_with(SERVICE) || name.ends_with(SCOPE);
        let mut units = path.split('/').map(unescaped).filter(is_unit).rev();
        let name = units.next().filter(|name| name.ends_with(SERVICE) && !is_manager(name))?;
        Some(Self { name: name.to_owned(), is_users: units.any(is_manager) })
    }
}

/// systemd puts a `_` before a name that the kernel or itself would take for something else.
fn unescaped(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

fn is_manager(name: &str) -> bool {
    let number = name.strip_prefix(MANAGER).and_then(|rest| rest.strip_suffix(SERVICE));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_unit_counts_where_it_is_a_service() {
        for (text, expected) in [
            ("0::/system.slice/agent.service\n", Some(("agent.service", false))),
            ("0::/system.slice/agent.service/payload\n", Some(("agent.service", false))),
            (
                "0::/system.slice/system-agent.slice/agent@1.service\n",
                Some(("agent@1.service", false)),
            ),
            ("0::/system.slice/_cpu.service\n", Some(("cpu.service", false))),
            (
                "4:memory:/x.service\n1:name=systemd:/system.slice/agent.service\n0::/\n",
                Some(("agent.service", false)),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/agent.service\n",
                Some(("agent.service", true)),
            ),
            // What logged in, what opened a terminal, a container, and a user's systemd itself.
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-1.scope\n", None),
            ("0::/system.slice/docker-0123.scope\n", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", None),
            ("0::/user.slice/user-1000.slice/user@1000.service\n", None),
            ("4:memory:/system.slice/agent.service\n", None),
            ("0::/\n", None),
            ("", None),
            ("a.service", None),
        ] {
            let read = Service::of_control_groups(text);
            let read = read.as_ref().map(|one| (one.name.as_str(), one.is_users));
            assert_eq!(read, expected, "{text}");
        }
    }
}
