//! Runs that can be looked up afterwards: each has a name by when it began.

use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How long the time in a name is: `20261120T030211Z`.
const TIME_CHARACTERS: usize = 16;

/// How many runs may have begun in one second.
pub const RUNS_A_SECOND_MAX: u8 = 99;

/// Says why a text names no run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} names no run: a run is named like 20261120T030211Z")]
pub struct RunIdFault(pub String);

/// The name of a run: when it began (UTC, ISO 8601 basic format), and from the second one of that
/// second on its number: `20261120T030211Z-2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    time: String,
    number: u8,
}

impl RunId {
    /// Reads a name.
    ///
    /// # Errors
    /// [`RunIdFault`].
    pub fn parse(text: &str) -> Result<Self, RunIdFault> {
        let fault = || RunIdFault(text.into());
        let (time, number) = match text.split_once('-') {
            None => (text, 1),
            Some((time, number)) if !number.starts_with(['0', '+']) => {
                (time, number.parse().map_err(|_| fault())?)
            }
            Some(_) => return Err(fault()),
        };
        let good = time.len() == TIME_CHARACTERS
            && time.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let is_first = text.len() == TIME_CHARACTERS;
        let known = is_first || (2..=RUNS_A_SECOND_MAX).contains(&number);
        if good && known { Ok(Self { time: time.into(), number }) } else { Err(fault()) }
    }

    /// Returns the name of the next run of the same second; `None` where there were too many.
    pub fn next(&self) -> Option<Self> {
        let number = self.number + 1;
        (number <= RUNS_A_SECOND_MAX).then(|| Self { time: self.time.clone(), number })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.time)?;
        if self.number > 1 { write!(f, "-{}", self.number) } else { Ok(()) }
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdFault;

    fn try_from(text: String) -> Result<Self, RunIdFault> {
        Self::parse(&text)
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        format!("{run}")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn a_run_is_named_by_when_it_began() {
        let first = RunId::parse("20261120T030211Z").unwrap();
        let second = first.next().unwrap();
        assert_eq!(second.to_string(), "20261120T030211Z-2");
        assert_eq!(RunId::parse("20261120T030211Z-2").unwrap(), second);
        let tenth = RunId::parse("20261120T030211Z-10").unwrap();
        assert!(first < second && second < tenth, "in the order in which they began");
        assert!(tenth < RunId::parse("20261120T030212Z").unwrap());
        assert_eq!(RunId::parse("20261120T030211Z-99").unwrap().next(), None);
    }

    #[test]
    fn what_is_no_name_of_a_run_names_none() {
        for text in [
            "",
            "..",
            "20261120T030211",
            "20261120T030211Z-",
            "20261120T030211Z-1",
            "20261120T030211Z-02",
        ] {
            assert_eq!(RunId::parse(text), Err(RunIdFault(text.into())));
        }
        for text in
            ["20261120t030211Z", "20261120T030211Z-100", "20261120T030211Z-+2", "../etc/passwd"]
        {
            assert!(RunId::parse(text).is_err(), "{text}");
        }
    }
}
