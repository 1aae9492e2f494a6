//! Durations as people write them (`500ms`, `5s`, `1h30m`) and as they read them (`1h 30m`).

use std::time::Duration;

/// What a duration may be written in, in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration: numbers, each with its unit.
///
/// # Errors
/// What a duration looks like, for people.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write for instance 500ms, 5s, 2m, or 1h30m");
    let mut rest = text.trim();
    let mut sum_ms: u64 = 0;
    loop {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|letter: char| !letter.is_ascii_lowercase());
        let (unit, behind) = behind.split_at(letters.unwrap_or(behind.len()));
        let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let ms = number.checked_mul(unit_ms);
        sum_ms = ms.and_then(|ms| sum_ms.checked_add(ms)).ok_or_else(wrong)?;
        if behind.is_empty() {
            return Ok(Duration::from_millis(sum_ms));
        }
        rest = behind;
    }
}

/// Writes a duration for people, in its two largest units; below a minute in seconds.
pub fn shown(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, 1..10) => format!("{minutes}m {:02}s", seconds % 60),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("5s", 5000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("0s", 0),
            (" 3s ", 3000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-5s", "5S", "1.5h", "5sek", "1h30", "99999999999999999d"]
        {
            assert!(parse(text).unwrap_err().contains("is no duration"), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_their_largest_units() {
        for (ms, text) in [
            (0, "0s"),
            (999, "0s"),
            (59_999, "59s"),
            (60_000, "1m 00s"),
            (599_999, "9m 59s"),
            (600_000, "10m"),
            (3_599_999, "59m"),
            (3_600_000, "1h 00m"),
            (5_430_000, "1h 30m"),
            (86_400_000, "1d 00h"),
            (97_200_000, "1d 03h"),
        ] {
            assert_eq!(shown(ms), text, "{ms}");
        }
    }
}
