//! One answer after another on a terminal, each in the place of the one before.
//!
//! An answer is drawn by one write over what stands there, and nothing is cleared before, so nothing
//! flickers. What does not fit is left out, and said. What the screen showed before the first
//! answer is scrolled up and not lost. No mode of the terminal is set beyond a write, so it is in
//! order whatever ends the tool, Ctrl-Z and SIGKILL too, and the last answer stays to be read.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::termios::tcgetwinsize;

use crate::Answer;

/// Begins a drawing at the upper left. Some letters take two columns: what reaches the edge is to
/// end there, and not to go on in the next line.
const BEGIN: &str = "\u{1b}[?7l\u{1b}[H";
/// Ends it: what stands below is erased, and lines go on at the edge again.
const END: &str = "\u{1b}[J\u{1b}[?7h";
/// Erases from the cursor to the end of the line.
const ERASE_LINE: &str = "\u{1b}[K";
/// Erases all of the screen.
const ERASE_ALL: &str = "\u{1b}[2J";
/// Erases the line of the cursor and what stands below.
const ERASE_TYPED: &str = "\r\u{1b}[J";

/// A terminal that shows one answer at a time.
#[derive(Debug)]
pub struct Screen {
    /// stdout without a buffer, so that a drawing is one write.
    terminal: File,
    is_begun: bool,
}

/// How much a terminal shows, in characters.
#[derive(Debug, Clone, Copy)]
struct Size {
    rows: usize,
    columns: usize,
}

impl Screen {
    /// Returns the terminal behind stdout; `None` where there is none, or `TERM` says that nothing
    /// can be drawn on it.
    pub fn of_stdout() -> Option<Self> {
        let name = std::env::var_os("TERM").unwrap_or_default();
        if !io::stdout().is_terminal() || name.is_empty() || name == "dumb" {
            return None;
        }
        let terminal = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
        Some(Self { terminal, is_begun: false })
    }

    /// Draws an answer with its hints and notes, as large as the terminal is now.
    ///
    /// # Errors
    /// The system's.
    pub fn draw(&mut self, answer: &Answer, carried: &[String]) -> io::Result<()> {
        let size = self.size();
        let foot = [answer.next(carried), answer.notes.clone()].concat();
        let mut text = drawing(&answer.human, &foot, size);
        if !self.is_begun {
            // As many lines as bring the one with the cursor to the top.
            let scrolled = size.map(|size| "\n".repeat(size.rows.saturating_sub(1)));
            text.insert_str(0, scrolled.as_deref().unwrap_or(ERASE_ALL));
            self.is_begun = true;
        }
        self.terminal.write_all(text.as_bytes())
    }

    fn size(&self) -> Option<Size> {
        let told = tcgetwinsize(&self.terminal).ok()?;
        let size = Size { rows: told.ws_row.into(), columns: told.ws_col.into() };
        (size.rows > 0 && size.columns > 0).then_some(size)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_begun {
            // The terminal shows what is typed, `^C` too. One that is gone shows nothing.
            drop(self.terminal.write_all(ERASE_TYPED.as_bytes()));
        }
    }
}

/// Writes the lines over what stands there, and leaves the cursor in the line below; all of them
/// where nobody knows how many fit.
fn drawing(body: &str, foot: &[String], size: Option<Size>) -> String {
    let body: Vec<&str> = body.lines().collect();
    let foot: Vec<&str> = foot.iter().map(String::as_str).collect();
    let lines = match size {
        Some(size) => in_rows(&body, &foot, size.rows.saturating_sub(1).max(1)),
        None => [body, foot].concat().into_iter().map(str::to_owned).collect(),
    };
    let columns = size.map_or(usize::MAX, |size| size.columns);
    let mut text = BEGIN.to_owned();
    for line in lines {
        let width = line.chars().count();
        if width > columns {
            text.extend(line.chars().take(columns - 1).chain(['…']));
        } else {
            text.push_str(&line);
        }
        // In a full line the cursor is still on the last letter, which would be erased.
        if width < columns {
            text.push_str(ERASE_LINE);
        }
        text.push('\n');
    }
    text.push_str(END);
    text
}

/// Leaves out the end of the body where there are too few rows.
fn in_rows(body: &[&str], foot: &[&str], rows: usize) -> Vec<String> {
    let all = || body.iter().chain(foot).map(|line| (*line).to_owned());
    if body.len() + foot.len() <= rows {
        return all().collect();
    }
    let kept = rows.saturating_sub(foot.len() + 1).min(body.len());
    let (shown, left) = body.split_at(kept);
    let left = match left.len() {
        1 => "… 1 more line does not fit here".to_owned(),
        count => format!("… {count} more lines do not fit here"),
    };
    let shown = shown.iter().map(|line| (*line).to_owned());
    let foot = foot.iter().map(|line| (*line).to_owned());
    shown.chain([left]).chain(foot).take(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a drawing says, a line of the screen in each of its lines.
    fn lines(body: &str, foot: &[&str], rows: usize, columns: usize) -> Vec<String> {
        let foot: Vec<String> = foot.iter().map(|line| (*line).to_owned()).collect();
        let text = drawing(body, &foot, Some(Size { rows, columns }));
        let text = text.strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
        text.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
    }

    #[test]
    fn what_fits_is_drawn_whole_and_the_rest_of_each_line_is_erased() {
        let drawn = drawing("ab\n\nabc\n", &["hint".into()], Some(Size { rows: 5, columns: 4 }));
        assert_eq!(drawn, "\x1b[?7l\x1b[Hab\x1b[K\n\x1b[K\nabc\x1b[K\nhint\n\x1b[J\x1b[?7h");
        assert_eq!(drawing("a\nb", &[], None), "\x1b[?7l\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let body = "1\n2\n3\n4\n5\n";
        let erased = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| format!("{text}{ERASE_LINE}")).collect()
        };
        let shown = lines(body, &["hint"], 5, 80);
        assert_eq!(shown, erased(&["1", "2", "… 3 more lines do not fit here", "hint"]));
        let shown = lines(body, &[], 5, 80);
        assert_eq!(shown, erased(&["1", "2", "3", "… 2 more lines do not fit here"]));
        let shown = lines("1\n", &["hint", "note"], 3, 80);
        assert_eq!(shown, erased(&["… 1 more line does not fit here", "hint"]));
        assert_eq!(lines(body, &["hint"], 1, 80).len(), 1);
        assert_eq!(lines("äöüß\näöü\näö\n", &[], 9, 3), ["äö…", "äöü", "äö\x1b[K"]);
        assert_eq!(lines("12\n", &[], 9, 1), ["…"]);
    }
}
