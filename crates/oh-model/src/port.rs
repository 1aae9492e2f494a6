//! TCP ports and the ranges that a policy allows.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;

use thiserror::Error;

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// Takes a number that may be a port.
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self)
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Says why a text is no range of ports.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortRangeFault {
    /// It is neither `N` nor `FIRST-LAST`.
    #[error("expected a port like \"8888\" or a range like \"8888-8899\"")]
    Syntax,
    /// A number is outside 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    NotAPort,
    /// The last port is below the first.
    #[error("the range ends at {last} before it begins at {first}")]
    Backwards {
        /// The first port as written.
        first: Port,
        /// The last port as written.
        last: Port,
    },
}

/// An inclusive range of ports, written `8888-8899` or `8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    /// Reads `8888-8899` or `8080`: decimal digits only, no blanks, no sign.
    ///
    /// # Errors
    /// [`PortRangeFault`].
    pub fn parse(text: &str) -> Result<Self, PortRangeFault> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port_of(first)?, port_of(last)?);
        if last < first {
            return Err(PortRangeFault::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    /// Returns the first port.
    pub const fn first(self) -> Port {
        self.first
    }

    /// Returns the last port.
    pub const fn last(self) -> Port {
        self.last
    }

    /// Returns how many ports the range has.
    pub const fn count(self) -> usize {
        (self.last.get() - self.first.get()) as usize + 1
    }

    /// Says whether the port is in the range.
    pub fn contains(self, port: Port) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Returns the ports from first to last.
    pub fn ports(self) -> impl Iterator<Item = Port> {
        (self.first.get()..=self.last.get()).filter_map(|number| Port::new(number.into()))
    }

    /// Says whether two ranges share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

fn port_of(text: &str) -> Result<Port, PortRangeFault> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PortRangeFault::Syntax);
    }
    text.parse().ok().and_then(Port::new).ok_or(PortRangeFault::NotAPort)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Several ranges: the ports that a policy allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortSet(pub Vec<PortRange>);

impl PortSet {
    /// Says whether any range has the port.
    pub fn contains(&self, port: Port) -> bool {
        self.0.iter().any(|range| range.contains(port))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<(u16, u16), PortRangeFault> {
        PortRange::parse(text).map(|r| (r.first().get(), r.last().get()))
    }

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(range("8888-8899"), Ok((8888, 8899)));
        assert_eq!(range("8080"), Ok((8080, 8080)));
        for bad in ["", "-", "8888-", "-8899", "+80", "80 ", "8888–8899", "1-2-3"] {
            assert_eq!(range(bad), Err(PortRangeFault::Syntax), "{bad:?}");
        }
        for bad in ["0", "65536", "99999999999999999999999"] {
            assert_eq!(range(bad), Err(PortRangeFault::NotAPort), "{bad:?}");
        }
        assert!(matches!(range("9-8"), Err(PortRangeFault::Backwards { .. })));
    }

    #[test]
    fn the_last_port_of_all_is_a_port_like_any_other() {
        let range = PortRange::parse("65535").unwrap();
        assert_eq!(range.ports().map(Port::get).collect::<Vec<_>>(), [65535]);
        assert_eq!(range.count(), 1);
    }
}
