//! Words of systemd's units, and the walls around a service that publishes: systemd.syntax(7),
//! systemd.service(5), systemd.exec(5).
//!
//! Which unit there is and what it may write is decided by the tool whose it is.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt::Write as _;

/// What a service that publishes needs of the system, without its capabilities and its folders.
///
/// It sees all processes, because it asks whose a listener is.
pub const WALLS: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0022
";

/// Writes a word of a command line as systemd reads it back: `%` and `$` stand for themselves.
pub fn command_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:=@,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '%' => out.push_str("%%"),
            '$' => out.push_str("$$"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Writes a path of a list of paths.
pub fn path_word(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'%' => out.push_str("%%"),
            byte if byte.is_ascii_graphic() && !b"\"'\\".contains(&byte) => out.push(byte.into()),
            byte => {
                // A String takes any text.
                write!(out, "\\x{byte:02x}").ok();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_themselves() {
        assert_eq!(command_word("/usr/bin/oh-nginx"), "/usr/bin/oh-nginx");
        assert_eq!(command_word("site.domain=a b"), "\"site.domain=a b\"");
        assert_eq!(command_word("50% \"$HOME\"\\"), "\"50%% \\\"$$HOME\\\"\\\\\"");
        assert_eq!(path_word("/srv/a b%"), "/srv/a\\x20b%%");
    }
}
