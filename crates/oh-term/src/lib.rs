//! The edge to people and programs: shared arguments, answers, failures with hints, progress.
//!
//! A tool's library returns an [`Answer`] or a [`Failure`]; this room alone prints. stdout gets
//! the answer and nothing else, stderr everything else, and the exit code never depends on the
//! format. Commands of ours that people may paste get the `--root`, `--config` and `--set` of the
//! run here, and nowhere else. It decides nothing, and reads nothing but the command line and, to
//! draw on it, what the terminal is.

mod answer;
mod args;
pub mod checks;
mod consent;
pub mod duration;
mod failure;
mod lines;
mod progress;
mod run;
mod screen;
pub mod text;

pub use answer::Answer;
pub use args::{CheckFormat, Common, Format};
pub use consent::consent;
pub use failure::Failure;
pub use oh_model::hint::Hint;
pub use progress::{Beside, Progress};
pub use run::{Tool, run, say, show};
pub use screen::Screen;
