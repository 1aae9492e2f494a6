//! Unpredictable names, tokens and passwords, from the kernel's random bytes.

use core::fmt;

use thiserror::Error;

/// The number of characters of a generated password: about 138 bits.
pub const PASSWORD_CHARACTERS: usize = 24;
/// The random bytes of a token; it has twice as many characters.
pub const TOKEN_BYTES: usize = 16;
/// Letters and digits that nobody takes for one another: without `0 O o 1 l I i`.
pub const PASSWORD_ALPHABET: &[u8; 55] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Says that the kernel gave no random bytes.
#[derive(Debug, Error)]
#[error("the kernel gave no random bytes")]
pub struct RandomFault(#[source] getrandom::Error);

/// A password: it can be shown on purpose, and not by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Returns the password itself, to be printed once or hashed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(not shown)")
    }
}

/// Makes a password of [`PASSWORD_CHARACTERS`] characters, each as likely as any other.
///
/// # Errors
/// [`RandomFault`].
pub fn password() -> Result<Password, RandomFault> {
    let mut text = String::with_capacity(PASSWORD_CHARACTERS);
    let mut pool = [0; 2 * PASSWORD_CHARACTERS];
    // Bytes above the largest multiple of the alphabet are thrown away: a plain remainder would
    // make the first letters likelier than the last.
    let bound = u8::MAX - u8::MAX % PASSWORD_ALPHABET.len() as u8;
    while text.len() < PASSWORD_CHARACTERS {
        fill(&mut pool)?;
        let letters = pool
            .iter()
            .filter(|byte| **byte < bound)
            .filter_map(|byte| PASSWORD_ALPHABET.get(usize::from(*byte) % PASSWORD_ALPHABET.len()))
            .map(|letter| char::from(*letter));
        let missing = PASSWORD_CHARACTERS - text.len();
        text.extend(letters.take(missing));
    }
    Ok(Password(text))
}

/// Makes a token of 2 × [`TOKEN_BYTES`] hexadecimal digits.
///
/// # Errors
/// [`RandomFault`].
pub fn token() -> Result<String, RandomFault> {
    let mut bytes = [0; TOKEN_BYTES];
    fill(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

/// Fills the buffer with random bytes, for instance the salt of a password's hash.
///
/// # Errors
/// [`RandomFault`].
pub fn fill(bytes: &mut [u8]) -> Result<(), RandomFault> {
    getrandom::fill(bytes).map_err(RandomFault)
}

/// Writes bytes as hexadecimal digits in lower case.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn tokens_and_passwords_differ_and_have_their_form() {
        let (one, two) = (token().unwrap(), token().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let password = password().unwrap();
        assert_eq!(password.reveal().len(), PASSWORD_CHARACTERS);
        assert_eq!(format!("{password:?}"), "Password(not shown)");
        assert_eq!(hexadecimal(&[0, 0x1f, 0xff]), "001fff");
    }

    #[test]
    fn every_letter_is_as_likely_as_any_other() {
        let mut seen = BTreeMap::<char, u32>::new();
        let rounds = 1100;
        for _ in 0..rounds {
            for letter in password().unwrap().reveal().chars() {
                *seen.entry(letter).or_default() += 1;
            }
        }
        // 480 of each on average, 22 is one standard deviation; a remainder bias would be 20%
        // (256 mod 55 = 36 letters with five bytes, the rest with four). 7 deviations never fail.
        assert_eq!(seen.len(), PASSWORD_ALPHABET.len());
        let (least, most) = (seen.values().min().unwrap(), seen.values().max().unwrap());
        assert!(*least > 480 - 154 && *most < 480 + 154, "{least} {most}");
        let first: u32 = PASSWORD_ALPHABET[..36].iter().map(|c| seen[&char::from(*c)]).sum();
        let expected = 36.0 * 480.0;
        assert!((f64::from(first) / expected - 1.0).abs() < 0.03, "{first} of {expected}");
    }
}
