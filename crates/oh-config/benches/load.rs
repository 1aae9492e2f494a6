//! How long a load takes, with the origin of every value: one line per case, in microseconds.

#![expect(clippy::print_stdout, reason = "the figures are the product of a benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use oh_config::{SourceText, Sources, example, load};

/// How often each case is timed; the median is printed.
const ROUNDS: usize = 301;

fn main() {
    let cases = [
        ("nothing at all", Sources::default()),
        ("9 lines of ours", file(OURS_9)),
        ("example, every key set", file(&every_key())),
        ("1000 lines, 150 of them ours", file(&lines_1000())),
        ("1000 lines, 40 faults", file(&faulty_1000())),
    ];
    for (name, sources) in cases {
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                // A faulty case is timed as well as a sound one.
                drop(black_box(load(black_box(&sources))));
                start.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(ROUNDS / 2).copied().unwrap_or_default();
        println!("config: {name}: {median:.0} us median of {ROUNDS}");
    }
}

const OURS_9: &str = "\
[toolkit]
schema = 1
[toolkit.site]
domain = \"oh.example\"
port = 8443
[toolkit.nginx]
generation_port = 9181
[toolkit.instances]
ports = \"8888-8899\"
";

fn file(text: &str) -> Sources {
    let file = SourceText { path: "config.toml".to_owned(), text: text.to_owned() };
    Sources { file: Some(file), ..Sources::default() }
}

/// The example with its keys in force.
fn every_key() -> String {
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    example().lines().map(live).collect()
}

/// Tables of OpenHands' sort before and after ours, 1,000 lines in all.
fn lines_1000() -> String {
    let mut text = String::new();
    let ours = every_key();
    let mut model = 0;
    while text.lines().count() + ours.lines().count() + 7 <= 1000 {
        let result = write!(
            text,
            "# A model.\n[llm.model-{model}]\nmodel = \"provider/model-{model}\"\napi_key = \"\"\n\
             num_retries = {model}\ntemperature = 0.5\nlimits = [1, 2, 3]\n"
        );
        if result.is_err() {
            break;
        }
        model += 1;
    }
    text.push_str(&ours);
    while text.lines().count() < 1000 {
        text.push_str("# the rest\n");
    }
    text
}

/// The same with 40 unknown keys of ours.
fn faulty_1000() -> String {
    let mut text = lines_1000();
    text.push_str("[toolkit.instancess]\n[toolkit.cleanup]\n");
    for number in 0..39 {
        if writeln!(text, "generation_prot_{number} = 1").is_err() {
            break;
        }
    }
    text
}
