//! The login that nginx asks for: one user, a generated password, one line of htpasswd.
//!
//! The password has more than 128 bits of randomness, so guessing it is hopeless whatever the
//! hash. nginx verifies it anew for every request in the worker itself; a slow hash would cost
//! every asset of an editor milliseconds and buy nothing. `{SSHA}` (salted SHA-1, RFC 2307) is
//! what nginx verifies without the C library.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oh_model::path::RealPath;
use sha1::{Digest as _, Sha1};
use thiserror::Error;

use crate::atomic::{self, FileFault, Meta};
use crate::random::{self, Password, RandomFault};

/// The user that is made.
pub const USER: &str = "openhands";

/// The largest file of users that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How much salt a line has, in bytes.
const SALT_BYTES: usize = 16;

/// A login that was just made. The password stands nowhere else: show it once.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub user: &'static str,
    /// The password.
    pub password: Password,
}

/// Says why no login was made.
#[derive(Debug, Error)]
pub enum LoginFault {
    /// There is no randomness.
    #[error("could not make a password")]
    Random(#[from] RandomFault),
    /// The file could not be written.
    #[error("could not write the file of users")]
    File(#[from] FileFault),
}

/// Everybody passes through the folder; the file has a mode of its own.
const FOLDER: Meta = Meta { mode: 0o755, owner: None };

/// Makes a login and writes it into the file; the lines of other users stay as they are. The folder
/// is made where it is missing: people may want the login before they publish for the first time.
///
/// # Errors
/// [`LoginFault`]; the file is as it was.
pub fn create(file: &RealPath, meta: Meta) -> Result<Login, LoginFault> {
    let password = random::password()?;
    let mut salt = [0; SALT_BYTES];
    random::fill(&mut salt)?;
    let others = atomic::read_limited(file, FILE_BYTES_MAX)?.unwrap_or_default();
    let text = with_line(&String::from_utf8_lossy(&others), &ssha(password.reveal(), &salt));
    let folder = file.parent();
    if std::fs::symlink_metadata(folder.as_str()).is_err() {
        atomic::create_dirs(&folder, FOLDER)?;
    }
    atomic::replace(file, text.as_bytes(), meta)?;
    Ok(Login { user: USER, password })
}

/// Puts our user's line in the place of the old one, or at the end.
fn with_line(file: &str, hash: &str) -> String {
    let ours = |line: &&str| line.split(':').next() == Some(USER);
    let others = file.lines().filter(|line| !ours(line));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!("{USER}:{hash}\n"));
    text
}

fn ssha(password: &str, salt: &[u8]) -> String {
    let mut bytes = Sha1::new().chain_update(password).chain_update(salt).finalize().to_vec();
    bytes.extend_from_slice(salt);
    format!("{{SSHA}}{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_users_stay() {
        let file = "alice:{PLAIN}a\nopenhands:{PLAIN}old\nopenhands2:{PLAIN}b";
        assert_eq!(
            with_line(file, "{PLAIN}new"),
            "alice:{PLAIN}a\nopenhands2:{PLAIN}b\nopenhands:{PLAIN}new\n"
        );
    }

    #[test]
    fn a_line_is_what_rfc_2307_says() {
        // From `slappasswd`'s scheme: base64(sha1("secret" + "salt") + "salt").
        assert_eq!(ssha("secret", b"salt"), "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0");
    }
}
