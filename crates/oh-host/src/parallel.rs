//! The same question to many processes, asked on several processors at once.
//!
//! Most of the time of such a question is the kernel's, who walks a process's memory for it.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

/// The most threads: a look is over in a moment, and is not to have a large machine for itself.
const THREADS_MAX: usize = 4;

/// Does the work on each item and returns what came of it, in the order of the items. Where no
/// thread is to be had, this one does it all.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads_max().min(items.len());
    let next = AtomicUsize::new(0);
    // Some items take a hundred times as long as others, so each thread takes one after the other.
    let share = || {
        let taken = core::iter::from_fn(|| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, work(item)))
        });
        taken.collect::<Vec<_>>()
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).map_while(|_| Builder::new().spawn_scoped(scope, share).ok()).collect();
        let mut done = share();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, came)| came).collect()
}

/// How many processors this process may use, as far as threads of it are of use; asked once, because
/// the answer is in several files.
fn threads_max() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_and_in_order() {
        for count in [0, 1, 2, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = items.iter().map(|item| item * 3).collect();
            assert_eq!(map(&items, |item| item * 3), expected);
        }
    }
}
