//! The version of nginx, and what depends on it.

use core::fmt;

/// The version of an nginx program, as `nginx -v` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NginxVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl NginxVersion {
    /// Reads `nginx version: nginx/1.22.1`, with or without a distribution's addition.
    pub fn parse(output: &str) -> Option<Self> {
        let (_, after) = output.split_once("nginx/")?;
        let digits = after.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        let mut numbers = digits.split('.').map(|number| number.parse().ok());
        Some(Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? })
    }

    /// Says whether HTTP/2 is switched on by a directive of its own (since 1.25.1) and no longer
    /// by a word of `listen`.
    pub fn has_http2_directive(self) -> bool {
        self >= Self { major: 1, minor: 25, patch: 1 }
    }

    /// Says whether `proxy_cookie_flags` exists (since 1.19.3).
    pub fn has_cookie_flags(self) -> bool {
        self >= Self { major: 1, minor: 19, patch: 3 }
    }

    /// Says whether `keepalive_min_timeout` exists (since 1.27.4): with it, a reload closes no
    /// kept-alive connection under a client's hands.
    pub fn has_keepalive_min_timeout(self) -> bool {
        self >= Self { major: 1, minor: 27, patch: 4 }
    }
}

impl fmt::Display for NginxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn versions_are_read_from_what_nginx_prints() {
        let read = |text| NginxVersion::parse(text).map(|version| version.to_string());
        assert_eq!(read("nginx version: nginx/1.22.1\n").as_deref(), Some("1.22.1"));
        assert_eq!(read("nginx version: nginx/1.28.0 (Ubuntu)").as_deref(), Some("1.28.0"));
        assert_eq!(read("nginx version: openresty/1.27.1.1"), None);
        assert_eq!(read("nginx/1.2"), None);
    }
}
