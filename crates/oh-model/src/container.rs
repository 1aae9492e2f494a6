//! Containers of OpenHands: their names, as docker and podman list them, and their processes' control
//! groups.
//!
//! A name is chosen by whoever makes a container, and a listing is what a program says: neither is
//! believed further than its form. A container is known by its whole number, which names it and no other.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// How the names of OpenHands' containers begin: runtimes up to 1.6, agent servers since.
pub const PREFIXES: [&str; 2] = ["openhands-runtime-", "oh-agent-server-"];

/// How many characters the number of a container has.
const ID_CHARACTERS: usize = 64;

/// The longest name that is taken for one.
const NAME_CHARACTERS_MAX: usize = 255;

/// Whose containers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

impl Engine {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// The name of its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// The whole number of a container: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes a number; `None` for anything else, a short one among it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == ID_CHARACTERS && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }

    /// Returns the number.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("the number of a container has 64 hexadecimal digits")
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

/// The name of a container of OpenHands'.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// Takes a name; `None` for one that OpenHands does not give, or that no engine would take.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let is_ours = PREFIXES
            .iter()
            .any(|prefix| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()));
        let is_name = text.len() <= NAME_CHARACTERS_MAX && text.bytes().all(is_plain);
        (is_ours && is_name).then(|| Self(text.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ContainerName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("it is no name of a container of OpenHands")
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

/// What a listing has to be made of: `--format` of `ps`, the same for both engines.
pub const LISTING_FORMAT: &str = "{{json .ID}} {{json .Names}}";

/// A container of OpenHands'.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its number.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
}

/// Reads a listing of [`LISTING_FORMAT`]: those that are OpenHands', in order, and how many lines are no
/// such lines. Others' containers are in neither.
pub fn listed(text: &str) -> (Vec<Listed>, usize) {
    let (mut found, mut odd) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut values = serde_json::Deserializer::from_str(line).into_iter::<String>();
        let (id, names, rest) = (values.next(), values.next(), values.next());
        let (Some(Ok(id)), Some(Ok(names)), None) = (id, names, rest) else {
            odd += 1;
            continue;
        };
        let Some(id) = ContainerId::parse(&id) else {
            odd += 1;
            continue;
        };
        // Beside its own name a container has those by which others know it, each with a `/`.
        let mut own = names.split(',').filter(|name| !name.contains('/'));
        if let (Some(name), None) = (own.next(), own.next())
            && let Some(name) = ContainerName::parse(name)
        {
            found.push(Listed { id, name });
        }
    }
    found.sort();
    found.dedup();
    (found, odd)
}

/// A container, as the control groups of its processes name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// Whose it is.
    pub engine: Engine,
    /// Its number.
    pub id: ContainerId,
}

impl Container {
    /// Reads the control groups of a process (cgroups(7)); `None` where they name none, or several.
    pub fn of_control_groups(text: &str) -> Option<Self> {
        let mut found: Option<Self> = None;
        for line in text.lines() {
            let Some(path) = line.splitn(3, ':').nth(2) else { continue };
            let parts: Vec<&str> = path.split('/').collect();
            for (at, part) in parts.iter().enumerate() {
                let above = at.checked_sub(1).and_then(|at| parts.get(at)).copied();
                let Some(one) = Self::of_part(part, above) else { continue };
                if found.as_ref().is_some_and(|other| *other != one) {
                    return None;
                }
                found = Some(one);
            }
        }
        found
    }

    fn of_part(part: &str, above: Option<&str>) -> Option<Self> {
        let scope = |prefix: &str| part.strip_prefix(prefix)?.strip_suffix(".scope");
        let of = |engine, id: &str| Some(Self { engine, id: ContainerId::parse(id)? });
        if let Some(id) = scope("docker-") {
            return of(Engine::Docker, id);
        }
        if let Some(id) = scope("libpod-").or_else(|| part.strip_prefix("libpod-")) {
            return of(Engine::Podman, id);
        }
        if above == Some("docker") { of(Engine::Docker, part) } else { None }
    }

    /// The line that stops it.
    pub fn stop_line(&self) -> String {
        format!("{} stop {}", self.engine, self.id.as_str())
    }
}

#[cfg(test)]
mod tests;
