//! The name of a set of routes: what nginx answers, and what is compared.

use alloc::string::String;

/// The most digits of a generation's number: it never comes near to the end of 64 bits.
const NUMBER_DIGITS_MAX: usize = 15;

/// Names a set of routes: a number that grows, and the digest of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Grows by one with every change.
    pub number: u64,
    /// The first digits of the digest of the file without this name.
    pub digest: String,
}

impl Generation {
    /// Reads `43-9f2c1ab04d7e`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, digest) = text.split_once('-')?;
        let is_hexadecimal = !digest.is_empty() && digest.bytes().all(|b| b.is_ascii_hexdigit());
        let is_number =
            number.len() <= NUMBER_DIGITS_MAX && number.bytes().all(|b| b.is_ascii_digit());
        if !is_hexadecimal || !is_number {
            return None;
        }
        Some(Self { number: number.parse().ok()?, digest: digest.into() })
    }
}

impl core::fmt::Display for Generation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}-{}", self.number, self.digest)
    }
}
