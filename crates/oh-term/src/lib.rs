//! The edge to people and programs: shared arguments, answers, failures with hints, progress.
//!
//! A tool's library returns an [`Answer`] or a [`Failure`]; this room alone prints. stdout gets
//! the answer and nothing else, stderr everything else, and the exit code never depends on the
//! format. It decides nothing and reads nothing but the command line.

mod answer;
mod args;
mod failure;
mod progress;
mod run;

pub use answer::Answer;
pub use args::{Common, Format};
pub use failure::{Failure, Hint};
pub use progress::Progress;
pub use run::{Tool, run};
