//! `cargo xtask bench cleanup`: a machine looked at, and a large tree taken away and removed.
//!
//! - plan: `oh-cleanup --dry-run` among five hundred other processes, beside `ps aux`.
//! - remove: 100,000 files in 1000 folders, on the disk of the temporary folder and in memory, beside
//!   `rm -rf` and rmz, which checks nothing: `oh-cleanup purge RUN` as a whole process, and the library
//!   alone in this one.
//! - quarantine: the same tree moved away, as a whole process, with and without evidence.
//! - nothing to do: the same command once more.
//! - on fire: three real editors, what is left of others, and innocents, until all is clean; beside it
//!   is its budget.
//! - memory: the highest mark of each process.
//!
//! All take turns, so that a machine that slows down slows all of them. `--rounds N` for more or fewer.

mod fire;
mod place;
#[path = "../../../tests/cleanup/scene.rs"]
#[expect(dead_code, reason = "tests need all of it")]
mod scene;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use oh_host::remove::{Rules, remove};
use oh_model::path::RealPath;
use oh_testsuite::bench::{Spread, Strangers, peak_memory, timed};
use oh_testsuite::components;

use self::place::{FILES, FOLDERS, Place};

/// How often each is done, where nobody says.
const ROUNDS: usize = 5;

/// How often the machine is looked at in a round.
const LOOKS: usize = 15;

/// How many strangers there are while it is looked at.
const STRANGERS: usize = 500;

/// A folder in memory (tmpfs(5)).
const MEMORY: &str = "/dev/shm";

fn main() -> Result<()> {
    let rounds = rounds()?;
    let mut out = std::io::stdout().lock();
    let disk = std::env::temp_dir();
    let places = [Place::new("disk", &disk)?, Place::new("memory", Path::new(MEMORY))?];
    writeln!(out, "| | best | median | beside | best | median | ratio of the best |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    looks(&mut out, &places[0], rounds)?;
    let fires = (0..rounds).map(|_| fire::put_out()).collect::<Result<_>>()?;
    let (what, budget) =
        (format!("on fire, {} editors", fire::EDITORS), fire::BUDGET + fire::GRACE);
    row(&mut out, &what, fires, "its budget and the grace", vec![budget])?;
    for place in &places {
        removals(&mut out, place, rounds)?;
    }
    for place in places.iter().rev() {
        moves(&mut out, place, rounds)?;
    }
    writeln!(out, "\n| with the {FILES} files | most memory, MiB |\n|---|---|")?;
    // What is left on the disk is what the last of them took back.
    memory(&mut out, &places[0])
}

/// What was asked for.
fn rounds() -> Result<usize> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Ok(ROUNDS),
        ["--rounds", number] => number.parse().context("a number of rounds"),
        _ => anyhow::bail!("usage: bench-cleanup [--rounds N]"),
    }
}

/// Writes a row: ours, and what it is beside.
fn row(
    out: &mut impl std::io::Write,
    what: &str,
    ours: Vec<Duration>,
    beside: &str,
    theirs: Vec<Duration>,
) -> Result<()> {
    let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let ratio = ms(ours.min) / ms(theirs.min);
    writeln!(
        out,
        "| {what} | {:.1} | {:.1} | {beside} | {:.1} | {:.1} | {ratio:.2} |",
        ms(ours.min),
        ms(ours.median),
        ms(theirs.min),
        ms(theirs.median),
    )?;
    Ok(())
}

fn looks(out: &mut impl std::io::Write, place: &Place, rounds: usize) -> Result<()> {
    let _strangers = Strangers::start(STRANGERS)?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds * LOOKS {
        times[0].push(timed(&mut place.cleanup(&["--dry-run"])?)?);
        times[1].push(timed(Command::new("/usr/bin/ps").arg("aux"))?);
    }
    let [ours, theirs] = times;
    row(out, &format!("plan, {STRANGERS} processes"), ours, "`ps aux`", theirs)
}

/// Removes the same tree in each way.
fn removals(out: &mut impl std::io::Write, place: &Place, rounds: usize) -> Result<()> {
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let [purge, library, rm, rmz] = &mut times;
        place.tree()?;
        let run = place.moved(&["--no-evidence"])?.run;
        place.settle();
        purge.push(timed(&mut place.cleanup(&["purge", "--yes", &run])?)?);
        place.is_empty()?;

        let tree = place.tree()?;
        library.push(removed(&tree)?);
        place.is_empty()?;

        let tree = place.tree()?;
        rm.push(timed(rm_of(&tree)?.arg("-rf"))?);
        place.is_empty()?;

        let tree = place.tree()?;
        rmz.push(timed(&mut rmz_of(&tree)?)?);
        place.is_empty()?;
    }
    let [purge, library, rm, rmz] = times;
    let where_ = &place.name;
    let row = &mut |what: &str, ours: &[Duration], beside: &str, theirs: &[Duration]| {
        row(out, &format!("{what}, {where_}"), ours.to_vec(), beside, theirs.to_vec())
    };
    row("`oh-cleanup purge`", &purge, "`rm -rf`", &rm)?;
    row("`oh-cleanup purge`", &purge, "rmz", &rmz)?;
    row("the library alone", &library, "`rm -rf`", &rm)?;
    row("the library alone", &library, "rmz", &rmz)
}

/// The library alone, with all its checks.
fn removed(tree: &Path) -> Result<Duration> {
    let tree = RealPath::parse(tree.to_str().context("a text")?)?;
    let rules = Rules { owners: None, progress: None, interrupts: None };
    let begun = Instant::now();
    let removed = remove(&tree, rules)?;
    let took = begun.elapsed();
    let gone = (removed.files, removed.folders, removed.left_count);
    ensure!(gone == (FILES as u64, FOLDERS as u64 + 1, 0), "{gone:?}");
    Ok(took)
}

fn rm_of(tree: &Path) -> Result<Command> {
    let mut rm = Command::new(components::program("rm")?);
    rm.arg(tree);
    Ok(rm)
}

fn rmz_of(tree: &Path) -> Result<Command> {
    let mut rmz = Command::new(components::rmz()?);
    rmz.arg(tree);
    Ok(rmz)
}

/// Moves the tree away, finds nothing more to do, and takes it back.
fn moves(out: &mut impl std::io::Write, place: &Place, rounds: usize) -> Result<()> {
    let mut times = [const { Vec::new() }; 3];
    place.tree()?;
    for _ in 0..rounds {
        let [with, without, nothing] = &mut times;
        for (arguments, times) in [(&[][..], with), (&["--no-evidence"], without)] {
            let moved = place.moved(arguments)?;
            times.push(moved.took);
            nothing.push(timed(&mut place.take(&[])?)?);
            timed(&mut place.cleanup(&["undo", &moved.run])?)?;
        }
    }
    let [with, without, nothing] = times;
    let of = |what: &str| format!("{what}, {}", place.name);
    row(out, &of("moved away, with evidence"), with, "without evidence", without.clone())?;
    row(out, &of("once more: nothing to do"), nothing, "moved, without evidence", without)
}

fn memory(out: &mut impl std::io::Write, place: &Place) -> Result<()> {
    let mut row = |what: &str, bytes: u64| -> Result<()> {
        Ok(writeln!(out, "| {what} | {:.1} |", bytes as f64 / f64::from(1 << 20))?)
    };
    for (what, arguments) in [("with evidence", &[][..]), ("without", &["--no-evidence"])] {
        let bytes = peak_memory(&mut place.take(arguments)?)?;
        row(&format!("moved away, {what}"), bytes)?;
        if arguments.is_empty() {
            timed(&mut place.cleanup(&["undo", &place.last()?])?)?;
        }
    }
    let mut purge = place.cleanup(&["purge", "--yes", &place.last()?])?;
    row("`oh-cleanup purge`", peak_memory(&mut purge)?)?;
    row("`rm -rf`", peak_memory(rm_of(&place.tree()?)?.arg("-rf"))?)?;
    row("rmz", peak_memory(&mut rmz_of(&place.tree()?)?)?)?;
    row("nothing to do", peak_memory(&mut place.take(&[])?)?)
}
