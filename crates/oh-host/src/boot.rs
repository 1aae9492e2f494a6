//! Which boot of the machine this is: a pid means nothing without it.
//!
//! The kernel makes the boot id anew at every start. In a container it is the host's.

use core::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where the kernel tells it; the format is that of a UUID, in lower case, with a line feed.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// The same as the first process sees it.
const BOOT_ID_FILE_OF_INIT: &str = "/proc/1/root/proc/sys/kernel/random/boot_id";
/// The length of a UUID in characters.
const BOOT_ID_CHARACTERS: usize = 36;

/// Says why the boot is not known.
#[derive(Debug, Error)]
pub enum BootFault {
    /// The kernel's file cannot be read: `/proc` is missing or hidden.
    #[error("cannot read {BOOT_ID_FILE}")]
    Read(#[source] std::io::Error),
    /// A text that has to be a boot id is something else.
    #[error("{0:?} is no boot id")]
    NotAnId(String),
}

/// One boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootId(String);

impl BootId {
    /// Checks that the text is a UUID in lower case.
    ///
    /// # Errors
    /// [`BootFault::NotAnId`].
    pub fn parse(text: &str) -> Result<Self, BootFault> {
        let dashes = [8, 13, 18, 23];
        let good = text.len() == BOOT_ID_CHARACTERS
            && text.bytes().enumerate().all(|(at, byte)| match byte {
                b'-' => dashes.contains(&at),
                b'0'..=b'9' | b'a'..=b'f' => !dashes.contains(&at),
                _ => false,
            });
        if good { Ok(Self(text.to_owned())) } else { Err(BootFault::NotAnId(text.to_owned())) }
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BootId {
    type Error = BootFault;

    fn try_from(text: String) -> Result<Self, BootFault> {
        Self::parse(&text)
    }
}

impl From<BootId> for String {
    fn from(id: BootId) -> Self {
        id.0
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the id of the present boot, as the first process sees it where we may look: systemd-nspawn
/// puts an id of its own over the kernel's, and a service that systemd gives a new `/proc` (for
/// `ProtectKernelTunables=`) would take each process that others wrote down for one of another boot.
///
/// # Errors
/// [`BootFault`].
pub fn boot_id() -> Result<BootId, BootFault> {
    let text = std::fs::read_to_string(BOOT_ID_FILE_OF_INIT)
        .or_else(|_| std::fs::read_to_string(BOOT_ID_FILE))
        .map_err(BootFault::Read)?;
    BootId::parse(text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_has_one_id() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }

    #[test]
    fn only_a_uuid_is_a_boot_id() {
        assert!(BootId::parse("123e4567-e89b-12d3-a456-426614174000").is_ok());
        for bad in ["", "123E4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"]
        {
            assert!(BootId::parse(bad).is_err(), "{bad}");
        }
    }
}
