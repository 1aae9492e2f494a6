//! Waiting on a condition with a bound; the only place of the test suite that sleeps.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The first pause between two looks; each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Looks until there is something to return.
///
/// The last look happens after the bound, so a slow machine never fails for want of a look.
///
/// # Errors
///
/// The look's own error at once; after `bound`, an error that names `what` was waited for.
pub fn until<T>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let late = start.elapsed() >= bound;
        if let Some(found) = look().with_context(|| format!("while waiting for {what}"))? {
            return Ok(found);
        }
        if late {
            bail!("{what}: not within {} s", bound.as_secs_f64());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Looks until the condition holds.
///
/// # Errors
///
/// After `bound`, an error that names `what` was waited for.
pub fn until_true(what: &str, bound: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    until(what, bound, || Ok(holds().then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_third_look_found() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn names_what_did_not_come_in_time() {
        let error = until_true("rain", Duration::from_millis(5), || false).unwrap_err();
        assert_eq!(error.to_string(), "rain: not within 0.005 s");
    }
}
