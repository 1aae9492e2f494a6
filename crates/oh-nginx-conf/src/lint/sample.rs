//! Texts that a pattern of nginx's matches, with a line break where one fits.
//!
//! The pattern is taken apart and written out again as one of the texts that it stands for. What
//! looks around itself (`^`, `\b`) is not followed: whoever asks tries the text with the pattern.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// The most places of a pattern where a break is tried.
const PLACES_MAX: usize = 32;

/// How many branches of alternatives are tried.
const BRANCHES: usize = 4;

/// The longest text that is made, in bytes.
const BYTES_MAX: usize = 4 * 1024;

/// What stands for a class, the first that fits.
const USUAL: &[u8] = b"a18/-_.A";

/// Makes texts for a pattern, each with a line break at another place that may hold one.
pub(super) fn with_breaks(pattern: &str) -> Vec<String> {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
    let Ok(hir) = parsed else { return Vec::new() };
    let mut out = Vec::new();
    for branch in 0..BRANCHES {
        for place in 0..PLACES_MAX {
            // What may be left out can hold a break.
            let mut sample = Sample { branch, left: Some(place), least: 1, text: Vec::new() };
            if sample.write(&hir).is_none() {
                break;
            }
            // Without a break there are no more places.
            if sample.left.is_some() {
                break;
            }
            out.push(String::from_utf8_lossy(&sample.text).into_owned());
        }
    }
    out
}

/// A text that is being made.
struct Sample {
    branch: usize,
    /// How many places that could hold a break are passed before it is written.
    left: Option<usize>,
    /// How often what may be left out is written at least.
    least: u32,
    text: Vec<u8>,
}

impl Sample {
    /// Writes what a part of the pattern stands for; `None` where nothing does.
    fn write(&mut self, hir: &Hir) -> Option<()> {
        if self.text.len() > BYTES_MAX {
            return None;
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(()),
            HirKind::Literal(literal) => {
                self.text.extend_from_slice(&literal.0);
                Some(())
            }
            HirKind::Class(class) => self.class(class),
            HirKind::Repetition(repetition) => {
                let times = repetition.min.max(self.least).min(repetition.max.unwrap_or(u32::MAX));
                (0..times).try_for_each(|_| self.write(&repetition.sub))
            }
            HirKind::Capture(capture) => self.write(&capture.sub),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part)),
            HirKind::Alternation(branches) => {
                let at = self.branch.checked_rem(branches.len())?;
                self.write(branches.get(at)?)
            }
        }
    }

    fn class(&mut self, class: &Class) -> Option<()> {
        let has = |byte: u8| match class {
            Class::Bytes(bytes) => bytes.iter().any(|r| (r.start()..=r.end()).contains(&byte)),
            Class::Unicode(chars) => {
                chars.iter().any(|r| (r.start()..=r.end()).contains(&char::from(byte)))
            }
        };
        if let Some(end) = [b'\r', b'\n'].into_iter().find(|end| has(*end)) {
            match self.left {
                Some(0) => {
                    self.left = None;
                    self.text.push(end);
                    return Some(());
                }
                Some(left) => self.left = Some(left - 1),
                None => {}
            }
        }
        let usual = USUAL.iter().copied().chain(0x21..0x7f);
        let byte = usual.chain([b' ', b'\r', b'\n']).find(|byte| has(*byte))?;
        self.text.push(byte);
        Some(())
    }
}

/// Makes the shortest text that a pattern stands for.
pub(super) fn shortest(pattern: &str) -> Option<String> {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    let mut sample = Sample { branch: 0, left: None, least: 0, text: Vec::new() };
    sample.write(&parsed)?;
    Some(String::from_utf8_lossy(&sample.text).into_owned())
}

/// Returns the pattern of one capture, by name or number.
pub(super) fn capture_of(pattern: &str, name: &str) -> Option<String> {
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    Some(format!("^(?:{})$", found(&parsed, name)?))
}

fn found<'h>(hir: &'h Hir, name: &str) -> Option<&'h Hir> {
    match hir.kind() {
        HirKind::Capture(capture) => {
            let is_it = capture.name.as_deref() == Some(name)
                || name.parse::<u32>().is_ok_and(|number| number == capture.index);
            if is_it { Some(&capture.sub) } else { found(&capture.sub, name) }
        }
        HirKind::Repetition(repetition) => found(&repetition.sub, name),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().find_map(|part| found(part, name))
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => None,
    }
}
